"""The NLG on a corpus: sampling, consensus, teaching, training and the served client, on a corpus of a few rows."""

from __future__ import annotations

import asyncio
import csv
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from safetensors.torch import load_file  # noqa: E402

from models.nlg.consensus import Consensus, ranked  # noqa: E402
from models.nlg.corpora import parse_meaning, read_references  # noqa: E402
from models.nlg.corpus_client import CorpusClient  # noqa: E402
from models.nlg.corpus_export import export_corpus  # noqa: E402
from models.nlg.fit import FitConfig, fit  # noqa: E402
from models.nlg.network import NlgConfig, NlgNetwork  # noqa: E402
from models.nlg.prompts import STYLES  # noqa: E402
from models.nlg.realisations import Patterns  # noqa: E402
from models.nlg.rows import Row, read_rows, swapped  # noqa: E402
from models.nlg.sampling import sample  # noqa: E402
from models.nlg.scoring import bleu_of, bleu_statistics, figures  # noqa: E402
from models.nlg.teach import draw_meanings, teach  # noqa: E402
from parley.bundle import verify_files  # noqa: E402
from parley.errors import ParleyError  # noqa: E402
from parley.runs import Run  # noqa: E402
from parley.serving.onnx_engine import OnnxEngine  # noqa: E402

TINY = FitConfig(Path("devel.csv"), epochs=2, batch=8, width=16, layers=1, heads=2, buffer=48, least=1)
MEANING = parse_meaning("name[Cotto], eatType[pub], food[Italian], area[riverside]")


@pytest.fixture(autouse=True)
def _no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = []
    for name in ("Cotto", "Strada", "Zizzi", "Aromi"):
        for food in ("French", "Indian"):
            for rating in ("low", "high"):
                mr = f"name[{name}], eatType[pub], food[{food}], customer rating[{rating}]"
                rows += [(mr, f"{name} is a pub that serves {food} food. It has a {rating} customer rating."),
                         (mr, f"The {food} pub {name} has a {rating} rating.")]  # fmt: skip
    path = tmp_path_factory.mktemp("corpus") / "devel.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("mr", "ref"), *rows])
    return path


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        fit(replace(TINY, corpus=corpus), path)
        export_corpus(path)
    return path


class Scripted:
    """An engine that writes what it is told for each style."""

    def __init__(self, run: Path, texts: list[str]) -> None:
        from models.tokenizer import read_tokenizer

        self.tokenizer, self.texts, self.asked = read_tokenizer(run / "bundle" / "tokenizer.json"), texts, 0

    async def infer(
        self, model: str, version: int, inputs: Mapping[str, np.ndarray], *, timeout_s: float = 2.0
    ) -> dict[str, np.ndarray]:
        rows = []
        for prompt in inputs["prompt_ids"]:
            ids = self.tokenizer.encode(self.texts[self.asked], add_special_tokens=False).ids
            rows.append([*prompt, *ids, 1] + [0] * (60 - len(ids)))
            self.asked += 1
        return {"tokens": np.array(rows)}

    async def ready(self, model: str, version: int) -> bool:
        return True

    async def close(self) -> None: ...


GOOD = "{name} is a {eatType} that serves {food} food. it has a low customer rating."
LOW = parse_meaning("name[Cotto], eatType[pub], food[Italian], customer rating[low]")


def test_a_reply_of_the_network_that_says_everything_is_said(run: Path) -> None:
    engine = Scripted(run, [GOOD])
    client = CorpusClient(run / "bundle", engine)
    reply = asyncio.run(client.say(LOW))
    assert reply.text == "Cotto is a pub that serves Italian food. It has a low customer rating."
    assert (reply.fallback, client.counts.retries, engine.asked) == (False, 0, 1)


@pytest.mark.parametrize(
    "bad",
    [
        "{name} is a {eatType}. it has a low customer rating.",
        "{name} is a {eatType} that serves {food} food. it has a high customer rating.",
        "{name} is a {eatType} that serves {food} food. it has a low customer rating. it has a low rating.",
        "{name} is a {eatType} that serves {food} {food} food. it has a low rating.",
        "a {eatType} that serves {food} food has a low rating.",
        "",
    ],
    ids=["missing", "wrong", "said twice", "placeholder twice", "no name", "empty"],
)
def test_a_reply_that_fails_the_check_is_replaced_by_another_style(run: Path, bad: str) -> None:
    engine = Scripted(run, [bad, bad, GOOD, bad])
    client = CorpusClient(run / "bundle", engine)
    reply = asyncio.run(client.say(LOW))
    assert (reply.text, reply.fallback) == (
        "Cotto is a pub that serves Italian food. It has a low customer rating.",
        False,
    )
    assert (client.counts.retries, client.counts.fallbacks, engine.asked) == (1, 0, STYLES)


def test_when_no_style_passes_plain_sentences_say_it(run: Path) -> None:
    client = CorpusClient(run / "bundle", Scripted(run, ["bad."] * STYLES))
    reply = asyncio.run(client.say(LOW))
    assert reply.fallback
    assert Patterns.of_e2e(LOW).errors(reply.text, LOW).errors == 0
    assert client.counts.fallbacks == 1


def test_what_no_style_says_is_added_in_plain_sentences(run: Path) -> None:
    client = CorpusClient(run / "bundle", Scripted(run, ["{name} is a {eatType}."] * STYLES))
    reply = asyncio.run(client.say(LOW))
    assert not reply.fallback
    assert reply.text == "Cotto is a pub. It serves Italian food. Its customer rating is low."
    assert (client.counts.repairs, client.counts.fallbacks) == (1, 0)


def test_more_values_than_the_network_can_be_asked_for_are_added(run: Path) -> None:
    meaning = parse_meaning("name[Cotto], food[French], food[Indian], food[Italian]")
    client = CorpusClient(run / "bundle", Scripted(run, ["{name} serves {food} food."]))
    reply = asyncio.run(client.say(meaning))
    assert Patterns.of_e2e(meaning).errors(reply.text, meaning).errors == 0
    assert reply.text == "Cotto serves French food. It serves Indian food. It serves Italian food."


def test_the_exported_bundle_answers_without_slot_errors(run: Path) -> None:
    async def ask() -> str:
        async with OnnxEngine.from_bundle(run / "bundle", threads=1) as engine:
            return (await CorpusClient(run / "bundle", engine).say(LOW)).text

    assert verify_files(run / "bundle").parity["replies_equal"] > 0
    assert Patterns.of_e2e(LOW).errors(asyncio.run(ask()), LOW).errors == 0


def test_the_corpus_is_worded_as_any_act_with_slots(run: Path) -> None:
    client = CorpusClient(run / "bundle", Scripted(run, [GOOD]), "e2e_nlg", 1)
    slots = {"customer rating": "low", "food": "Italian", "eatType": "pub", "name": "Cotto"}

    assert asyncio.run(client.generate("inform", slots)).text.startswith("Cotto is a pub that serves Italian food.")
    for act, slots in (("inform", {"size": "large"}), ("inform", {}), ("greet", {"name": "Cotto"})):
        with pytest.raises(ParleyError, match="is not of this corpus"):
            asyncio.run(client.generate(act, slots))


def test_sampling_one_network_coldly_is_its_greedy_reply() -> None:
    torch.manual_seed(3)
    network = NlgNetwork(NlgConfig(vocabulary=30, buffer=24, width=32, layers=2, heads=4)).eval()
    network.score.bias.data[[0, 2, 3, 4]] = -1e4  # special tokens that sampling never writes
    prompts = torch.randint(5, 30, (6, 4))
    greedy, logprobs = network.generate(prompts, 0, 1)
    replies = sample(network, prompts, 0.0, 1.0, torch.Generator())
    for row, (reply, _) in zip(greedy[:, 4:].tolist(), replies, strict=True):
        assert reply == (row[: row.index(1)] if 1 in row else [])


def test_sampling_is_repeated_by_its_seed_and_varies() -> None:
    torch.manual_seed(3)
    network = NlgNetwork(NlgConfig(vocabulary=30, buffer=24, width=16, layers=1, heads=2)).eval()
    prompts = torch.full((20, 4), 7)
    first, second = (sample(network, prompts, 1.0, 1.0, torch.Generator().manual_seed(5)) for _ in range(2))
    assert first == second
    assert len({tuple(reply) for reply, _ in first}) > 5


def test_the_reply_most_like_the_others_ranks_first_and_only_allowed_ones_rank() -> None:
    drawn = [(text.split(), -1.0) for text in ("a b c d e", "a b c d f", "a b c d e", "x y z", "a b q d e")]
    assert ranked(drawn, [True] * 5)[0] == 0
    assert ranked(drawn, [False, True, False, True, True]) == [1, 4, 3]
    assert ranked([*drawn[:4], (drawn[4][0], 9.0)], [True] * 5, 1.0)[0] == 4
    assert Consensus([["a", "b"]]).gain(["a", "b"]) > Consensus([["a", "b"]]).gain(["a"])


def test_a_swapped_row_says_its_new_meaning() -> None:
    patterns = Patterns.of_e2e([])
    row = Row(parse_meaning("name[A], customer rating[low], area[riverside]"),
              "{name} in the riverside area has a low customer rating.")  # fmt: skip
    seen = {swapped(row, patterns, random.Random(i), 1.0) for i in range(20)}
    assert {r.text for r in seen} == {
        "{name} in the city centre area has an average customer rating.",
        "{name} in the city centre area has a high customer rating.",
    }
    assert all(("customer rating", "low") not in r.meaning for r in seen)
    assert swapped(row, patterns, random.Random(1), 0.0) == row


def test_drawn_meanings_keep_the_slots_and_are_not_asked_alike() -> None:
    known = [parse_meaning("name[A], food[French], area[riverside], customer rating[low]")]
    values = {"customer rating": ["low", "high"], "area": ["riverside", "city centre"]}
    drawn = draw_meanings(known, values, [], 50, 1)
    assert len(drawn) == len(set(drawn)) == 4
    assert set(draw_meanings(known, values, [drawn[2]], 50, 1)) == set(drawn) - {drawn[2]}
    assert all([s for s, _ in m] == [s for s, _ in known[0]] for m in drawn)


def test_taught_rows_say_their_meanings_and_teaching_goes_on_where_it_stopped(
    run: Path, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "taught.jsonl"
    knobs = {"replies": 8, "temperature": 0.5, "top_p": 0.9, "weight": 0.05, "seed": 1}
    rows = teach([run], corpus, "valid", [], out, count=8, **knobs)  # type: ignore[arg-type]
    assert read_rows(out) == rows
    patterns = Patterns.of_e2e([])
    for row in rows:
        values = [p for p in row.meaning if p[0] == "customer rating"]
        assert patterns.errors(row.text, values).errors == 0
    assert teach([run], corpus, "valid", [], out, count=8, **knobs)[: len(rows)] == rows  # type: ignore[arg-type]


def test_resumed_training_equals_uninterrupted_training(
    run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, logged = Run.log, []

    def cut_off(self: Run, step: int, **found: float) -> None:
        original(self, step, **found)
        logged.append(step)
        if len(logged) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "log", cut_off)
        fit(replace(TINY, corpus=corpus), tmp_path / "again")
    state = json.loads((tmp_path / "again" / "checkpoint" / "state.json").read_text())
    assert state["place"]["step"] == logged[0] == logged[1] // 2, "an epoch's checkpoint"
    fit(replace(TINY, corpus=corpus), tmp_path / "again", resume=True)
    whole, resumed = (load_file(path / "best" / "model.safetensors") for path in (run, tmp_path / "again"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_another_configuration_does_not_continue_a_run(run: Path, corpus: Path) -> None:
    with pytest.raises(ParleyError, match="epochs = 2, not 3"):
        fit(replace(TINY, corpus=corpus, epochs=3), run, resume=True)


def test_scores_are_sacrebleus_and_count_every_reference() -> None:
    import sacrebleu

    references = [["Cotto is a pub.", "The pub Cotto."], ["Zizzi serves Indian food by the river."]]
    replies = ["The pub Cotto.", "Zizzi serves food by the river."]
    streams = [["Cotto is a pub.", references[1][0]], ["The pub Cotto.", None]]
    expected = sacrebleu.corpus_bleu(replies, streams).score
    assert bleu_of(bleu_statistics(replies, references).sum(0)) == pytest.approx(expected)


def test_figures_of_perfect_replies(corpus: Path) -> None:
    from models.nlg.corpora import by_meaning

    rows = read_references(corpus)
    meanings = by_meaning(rows)
    found = figures(
        [texts[0] for texts in meanings.values()], meanings, Patterns.of_e2e({p for m in meanings for p in m}), 20
    )
    assert (found["bleu"], found["slot_error_rate"], found["missing"], found["slots"]) == (100.0, 0.0, 0, 64)
