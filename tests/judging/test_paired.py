"""Two releases on the same utterances: what runs twice, who goes first, what counts as right, what a failure means."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from judging.footprint import memory_mb
from judging.paired import Measured, Sentence, Side, Sides, conditions, on_recordings, on_sentences
from judging.replies import on_acts, reply_texts, things_to_say
from judging.slu import Heard, Listener, Turn
from models.contracts import Reply
from orchestrator.stages import Served
from parley.audio import Pcm, write_wav
from parley.bot import load_bot
from parley.errors import ParleyError
from parley.recordings import Recording, read_recordings
from registry.releasing.documents import Release, StageVersion

ROOT = Path(__file__).parents[2]
LATTE = {"coffeeDrink": "latte"}


@dataclass
class _Listener:
    """Hears a fixed text and means a fixed thing, and counts how often it was asked."""

    text: str
    intent: str = "orderDrink"
    calls: list[str] = field(default_factory=list)
    heard: list[Pcm] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    async def listen(self, pcm: Pcm) -> list[Turn]:
        self.calls.append("listen")
        self.heard.append(pcm)
        return [Turn(self.text, 0.9, 12.0)] if self.text else []

    async def understand(self, turns: list[Turn]) -> Heard:
        self.calls.append("understand")
        text = " ".join(t.text for t in turns)
        drink = text.split()[-1] if text else ""
        return Heard(text, self.intent if text else "", {"coffeeDrink": drink} if drink else {}, len(turns))


def _side(number: int, text: str, **versions: int) -> Side:
    stages = {s: StageVersion(model=f"barista_{s}", version=v) for s, v in ({"stt": 1, "nlu": 1} | versions).items()}
    release = Release(number=number, bot="barista", stages=stages)  # type: ignore[arg-type]
    bot = load_bot(ROOT / "bots" / "barista")
    return Side(release, bot, None, SimpleNamespace(), _Listener(text))  # type: ignore[arg-type]


def _calls(side: Side) -> list[str]:
    return side.listener.calls  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[list[Recording], Path]:
    write_wav(tmp_path / "a.wav", (np.sin(np.arange(4000) / 5) * 8000).astype(np.int16))
    row = {"audio": "a.wav", "speaker": "s1", "text": "a latte", "intent": "orderDrink", "slots": LATTE, "group": "car"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    return read_recordings(tmp_path / "m.jsonl"), tmp_path


def _run(sides: Sides, recorded: tuple[list[Recording], Path], **more: Any) -> Measured:
    return asyncio.run(on_recordings(sides, recorded[0], more.pop("under", conditions(None, [])), **more))


def test_only_what_differs_runs_twice(recorded: tuple[list[Recording], Path]) -> None:
    nlu = Sides(_side(1, "a latte"), _side(2, "a latte", nlu=2))
    stt = Sides(_side(1, "a latte"), _side(2, "a mocha", stt=2))
    same = Sides(_side(1, "a latte"), _side(2, "a latte", tts=2))

    for sides in (nlu, stt, same):
        _run(sides, recorded)

    assert (_calls(nlu.champion), _calls(nlu.candidate)) == (["listen", "understand"], ["understand"])
    assert (_calls(stt.champion), _calls(stt.candidate)) == (["listen", "understand"], ["listen", "understand"])
    assert (_calls(same.champion), _calls(same.candidate)) == (["listen", "understand"], [])


def test_a_pair_says_who_spoke_under_what_and_which_release_was_right(
    recorded: tuple[list[Recording], Path],
) -> None:
    sides = Sides(_side(1, "a latte"), _side(2, "a mocha", stt=2))

    measured = _run(sides, recorded, slices=["group", "accent"])

    (pair,) = measured.pairs
    assert (pair.id, pair.speaker, pair.champion, pair.candidate) == ("a.wav|clean", "s1", 1, 0)
    assert pair.slices == {"condition": "clean", "intent": "orderDrink", "group": "car"}
    assert measured.ms["stt"] == [(12.0, 12.0)] and "nlu" not in measured.ms
    assert measured.rows[0]["candidate"]["slots"] == {"coffeeDrink": "mocha"}
    assert sides.changed() == {"stt": ("barista_stt 1", "barista_stt 2")}


def test_who_goes_first_alternates() -> None:
    sides, order = Sides(_side(1, ""), _side(2, "", nlu=2)), []

    async def ask(side: Side) -> None:
        order.append(side.release.number)

    async def twice() -> None:
        await sides.both(ask)
        await sides.both(ask)

    asyncio.run(twice())
    assert order == [1, 2, 2, 1]


def test_noise_is_the_same_for_both_releases_and_in_every_run(
    recorded: tuple[list[Recording], Path],
) -> None:
    noise = recorded[1] / "noise.wav"
    write_wav(noise, np.random.default_rng(1).integers(-3000, 3000, 16000).astype(np.int16))
    sides = Sides(_side(1, "a latte"), _side(2, "a latte", stt=2))
    again = Sides(_side(1, "a latte"), _side(2, "a latte", stt=2))

    measured = _run(sides, recorded, under=conditions(noise, [18, 9]))
    _run(again, recorded, under=conditions(noise, [18, 9]))

    heard = [side.listener.heard for side in (sides.champion, sides.candidate, again.champion)]  # type: ignore[attr-defined]
    for clean, mild, loud in heard:
        assert not np.array_equal(clean, mild) and not np.array_equal(mild, loud)
    assert all(np.array_equal(a, b) and np.array_equal(a, c) for a, b, c in zip(*heard, strict=True))
    assert [p.slices["condition"] for p in measured.pairs] == ["clean", "18 dB", "9 dB"]


def test_a_candidate_that_keeps_failing_is_not_measured_to_the_end(
    recorded: tuple[list[Recording], Path],
) -> None:
    sides = Sides(_side(1, "a latte"), _side(2, "", stt=2))
    sides.candidate.faults.extend(["stt: IndexError"] * 3)

    measured = _run(sides, (recorded[0] * 5, recorded[1]))

    assert len(measured.pairs) == 1


def test_a_champion_that_fails_is_nobody_to_compare_with(recorded: tuple[list[Recording], Path]) -> None:
    sides = Sides(_side(1, ""), _side(2, "a latte", stt=2))
    sides.champion.faults.append("stt: EngineRejected")

    with pytest.raises(ParleyError, match="the champion itself cannot answer"):
        _run(sides, recorded)


def _meaning(answers: dict[str, tuple[str, dict[str, str], bool]]) -> Listener:
    async def understand(text: str) -> Served[SimpleNamespace | None]:
        if text not in answers:
            return Served(None, "EngineUnavailable")
        intent, slots, outside = answers[text]
        return Served(SimpleNamespace(intent=intent, slots=slots, out_of_scope=outside, confidence=0.9))

    return Listener(SimpleNamespace(understand=understand), 400)  # type: ignore[arg-type]


def test_a_sentence_without_an_answer_is_right_when_nothing_is_understood() -> None:
    champion, candidate = _side(1, ""), _side(2, "", nlu=2)
    champion.listener = _meaning({"rain": ("out_of_scope", {}, True), "latte": ("orderDrink", LATTE, False)})
    candidate.listener = _meaning({"rain": ("orderDrink", {}, False)})
    sentences = [Sentence("1", "rain", "", {}), Sentence("2", "latte", "orderDrink", LATTE)]

    measured = asyncio.run(on_sentences(Sides(champion, candidate), sentences))

    assert [(p.champion, p.candidate, p.in_domain) for p in measured.pairs] == [(1, 0, False), (1, 0, True)]
    assert measured.pairs[0].champion_score == pytest.approx(0.1), "sure that it is none: not sure that it is one"
    assert len(measured.ms["nlu"]) == 2
    assert candidate.faults == ["nlu: EngineUnavailable"] and champion.faults == []


def test_things_to_say_cover_every_act_and_group_what_only_differs_in_values() -> None:
    for name in ("barista", "bank"):
        bot = load_bot(ROOT / "bots" / name)
        things = things_to_say(bot)
        assert {one.act for one in things} == set(bot.replies)
        assert things == things_to_say(bot) and len({one.id for one in things}) == len(things)
        groups: dict[str, set[tuple[str, ...]]] = {}
        for one in things:
            groups.setdefault(one.group, set()).add(tuple(one.slots))
        assert all(len(slots) == 1 for slots in groups.values())
        assert len(reply_texts(bot, things)) > 20


def test_a_template_in_the_networks_place_does_not_count() -> None:
    champion, candidate = _side(1, ""), _side(2, "", nlg=2)

    def writer(fallback: bool, text: str) -> SimpleNamespace:
        async def generate(act: str, slots: dict[str, str]) -> Reply:
            return Reply(text, fallback)

        async def nlg() -> SimpleNamespace:
            return SimpleNamespace(generate=generate)

        return SimpleNamespace(nlg=nlg)

    champion.stages = writer(False, "A latte, right?")  # type: ignore[assignment]
    candidate.stages = writer(True, "A latte, right?")  # type: ignore[assignment]
    things = [one for one in things_to_say(champion.bot) if one.slots == LATTE][:1] or [
        type(things_to_say(champion.bot)[0])("x", "x", "done.orderDrink", LATTE)
    ]

    measured = asyncio.run(on_acts(Sides(champion, candidate), things))

    assert [(p.champion, p.candidate, p.measure) for p in measured.pairs] == [(1, 0, "wording")]


def test_the_memory_of_a_version_grows_with_its_weights(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from parley.bundle import Manifest, TensorSpec, write_bundle

    def bundle(name: str, megabytes: int) -> Path:
        weights = np.ones((1, megabytes * 250_000), np.float32)
        graph = helper.make_graph(
            [helper.make_node("Mul", ["x", "w"], ["y"])], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", None])],
            [numpy_helper.from_array(weights, "w")],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        (tmp_path / name).mkdir()
        onnx.save(model, str(tmp_path / name / "model.onnx"))
        tensor = [TensorSpec(name="x", dtype="FP32", dims=[1])]
        out = [TensorSpec(name="y", dtype="FP32", dims=[-1])]
        write_bundle(tmp_path / name, Manifest(family="nlu", bot="b", model="b_nlu", inputs=tensor, outputs=out))
        return tmp_path / name

    assert memory_mb(bundle("large", 60)) > memory_mb(bundle("small", 1)) + 50


def test_a_version_that_cannot_be_opened_has_no_memory(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="its memory cannot be measured"):
        memory_mb(tmp_path)
