"""The NLG from training to a sentence, on a network that learns for seconds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

import onnx  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from models.exporting import session  # noqa: E402
from models.nlg import export as exporting  # noqa: E402
from models.nlg.client import ActPromptClient, SlotErrors, Writer, style_of  # noqa: E402
from models.nlg.data import encode, make_data, make_tokenizer  # noqa: E402
from models.nlg.evaluate import evaluate  # noqa: E402
from models.nlg.greedy_graph import END, PAD  # noqa: E402
from models.nlg.network import NlgConfig, NlgNetwork  # noqa: E402
from models.nlg.train import TrainConfig, train  # noqa: E402
from parley.bot import load_bot  # noqa: E402
from parley.bundle import verify_files  # noqa: E402
from parley.errors import ParleyError  # noqa: E402
from parley.runs import Run  # noqa: E402
from parley.serving.onnx_engine import OnnxEngine  # noqa: E402

BOT = Path(__file__).parents[2] / "bots" / "barista" / "bot.yaml"
TINY = TrainConfig(str(BOT), steps=20, batch=8, look_every=10)


@pytest.fixture(autouse=True)
def _no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "nlg"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        exporting.export(train(TINY, path))
    return path


class Scripted:
    """An engine that answers with a sentence of ours, whatever the prompt."""

    def __init__(self, bundle: Path, text: str, *, ends: bool = True) -> None:
        tokenizer = Writer(bundle)._tokenizer
        self.reply = [*tokenizer.encode(text, add_special_tokens=False).ids, *([END] if ends else [])]

    async def infer(
        self, model: str, version: int, inputs: Mapping[str, np.ndarray], *, timeout_s: float = 2.0
    ) -> dict[str, np.ndarray]:
        prompt = inputs["prompt_ids"][0]
        return {"tokens": np.array([[*prompt[prompt != PAD], *self.reply]])}

    async def ready(self, model: str, version: int) -> bool:
        return True

    async def close(self) -> None: ...


def say(bundle: Path, engine: Any, act: str, slots: dict[str, str]) -> Any:
    return asyncio.run(ActPromptClient(bundle, engine, "barista_nlg", 1).generate(act, slots))


def test_held_out_sets_of_slots_are_not_in_training() -> None:
    data = make_data(load_bot(BOT), 7)
    trained = {(r.act, r.slots) for r in data.train}
    assert data.test
    assert data.valid
    assert not trained & {(r.act, r.slots) for r in data.test + data.valid}
    assert {r.act for r in data.rows} == {r.act for r in data.train} == set(load_bot(BOT).replies)


@pytest.mark.parametrize("name", ["barista", "bank"])
def test_the_tokenizer_gives_every_reply_back_whole(name: str) -> None:
    bot = load_bot(BOT.parent.parent / name)
    data = make_data(bot, 7)
    tokenizer = make_tokenizer(bot, data)
    for row in data.rows:
        _, reply = encode(tokenizer, row)
        assert reply[-1] == END
        assert tokenizer.decode(reply[:-1], skip_special_tokens=False) == row.text


def test_a_word_no_reply_has_is_unknown_and_does_no_harm() -> None:
    bot = load_bot(BOT)
    tokenizer = make_tokenizer(bot, make_data(bot, 7))
    ids = tokenizer.encode("Which xylophone would you like?", add_special_tokens=False).ids
    assert [tokenizer.id_to_token(i) for i in ids].count("[UNK]") == 1


def test_one_step_at_a_time_equals_the_whole_row() -> None:
    torch.manual_seed(1)
    network = NlgNetwork(NlgConfig(vocabulary=30, buffer=16, width=32, layers=2, heads=4)).eval()
    ids = torch.randint(0, 30, (3, 16))
    with torch.no_grad():
        whole, cache = network(ids), network.empty_cache(3)
        for position in range(16):
            logits, cache = network.step(ids[:, position], torch.tensor(position), cache)
            assert torch.allclose(logits, whole[:, position], atol=1e-5)


def test_the_loop_in_the_graph_writes_what_torch_writes(run: Path) -> None:
    bot, network = exporting.open_run(Run.open(run))
    data = make_data(bot, 7)
    tokenizer = make_tokenizer(bot, data)
    width = verify_files(run / "bundle").constants["prompt_tokens"]
    ids = exporting.prompts(tokenizer, data, width)
    assert len({int((row != PAD).sum()) for row in ids}) > 1, "prompts of different lengths share a batch"
    graph = session(run / "bundle" / "model.onnx")
    for feed in (ids[:1], ids[:5], ids[-16:]):
        expected, total = network.generate(torch.from_numpy(feed), PAD, END)
        tokens, logprob = graph.run(["tokens", "logprob"], {"prompt_ids": feed})
        assert np.array_equal(expected.numpy(), tokens)
        assert np.allclose(total.numpy(), logprob[:, 0], atol=1e-3)


def test_a_graph_with_other_weights_fails_the_parity_check(run: Path, tmp_path: Path) -> None:
    bot, network = exporting.open_run(Run.open(run))
    data = make_data(bot, 7)
    width = verify_files(run / "bundle").constants["prompt_tokens"]
    ids = exporting.prompts(make_tokenizer(bot, data), data, width)[:4]
    model = onnx.load(str(run / "bundle" / "model.onnx"))
    bias = next(i for i in model.graph.initializer if i.name.endswith("score.bias"))
    changed = onnx.numpy_helper.to_array(bias).copy()
    changed[END] += 50
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    onnx.save(model, str(tmp_path / "model.onnx"))
    assert exporting.check_replies(network, run / "bundle" / "model.onnx", ids, 1e-4)["replies_equal"] == 4
    with pytest.raises(ParleyError, match="different replies"):
        exporting.check_replies(network, tmp_path / "model.onnx", ids, 1e-4)


def test_a_version_is_of_the_bot_that_training_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "barista" / "bot.yaml"
    file.parent.mkdir()
    file.write_text(BOT.read_text())
    monkeypatch.setenv("PARLEY_BOTS_DIR", str(tmp_path))
    trained = load_bot(file)
    run = train(replace(TINY, bot=str(file), steps=2), tmp_path / "run")
    file.write_text(file.read_text().replace("latte", "tisane"))

    bundle = exporting.export(run)
    figures = evaluate(run)

    kept = (bundle / "bot.json").read_text()
    assert "latte" in kept and "tisane" not in kept
    assert verify_files(bundle).lineage.bot_digest == trained.digest != load_bot(file).digest
    assert figures and str(tmp_path) not in verify_files(bundle).lineage.model_dump_json()
    with pytest.raises(ParleyError, match="bot_digest = "):
        train(replace(TINY, bot=str(file), steps=2), tmp_path / "run", resume=True)


def test_the_bundle_is_whole_and_records_both_parities(run: Path) -> None:
    manifest = verify_files(run / "bundle")
    assert manifest.implementation == "act-prompt/1"
    assert set(manifest.files) == {"model.onnx", "tokenizer.json", "bot.json", "utterances.tsv"}
    assert manifest.parity["step"]["inputs_checked"] > 50
    assert manifest.parity["replies_equal"] == len(make_data(load_bot(BOT), 7).rows)


def test_an_export_that_fails_leaves_the_bundle_that_was_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = verify_files(run / "bundle")
    monkeypatch.setitem(exporting.TOLERANCE, "int8", 0.0)
    with pytest.raises(ParleyError, match="parity: .* differs"):
        exporting.export(Run.open(run), "int8")
    assert verify_files(run / "bundle") == before


def test_resumed_training_equals_uninterrupted_training(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Run.log

    def cut_off(self: Run, step: int, **figures: float) -> None:
        original(self, step, **figures)
        if step == 20:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "log", cut_off)
        train(TINY, tmp_path)
    assert json.loads((tmp_path / "checkpoint" / "state.json").read_text())["place"]["step"] == 10
    train(TINY, tmp_path, resume=True)
    whole, resumed = (load_file(path / "checkpoint" / "model.safetensors") for path in (run, tmp_path))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_resume_with_other_parameters_is_refused(run: Path) -> None:
    with pytest.raises(ParleyError, match="batch = 8, not 4"):
        train(replace(TINY, batch=4), run, resume=True)


def test_a_reply_that_says_every_slot_once_is_said(run: Path) -> None:
    engine = Scripted(run / "bundle", "That is a~ {size} {coffeeDrink}. Is that right?")
    reply = say(run / "bundle", engine, "confirm.orderDrink", {"size": "eight ounce", "coffeeDrink": "latte"})
    assert (reply.text, reply.fallback) == ("That is an eight ounce latte. Is that right?", False)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("That is a~ {coffeeDrink}. Is that right?", True),
        ("That is a~ {size} {coffeeDrink} with {milkAmount}. Is that right?", True),
        ("That is a~ {size} {coffeeDrink} {coffeeDrink}. Is that right?", True),
        ("That is a~ {size} xylophone {coffeeDrink}. Is that right?", True),
        ("That is a~ {size} {coffeeDrink}.", False),
        ("", True),
    ],
    ids=["missing", "hallucinated", "repeated", "unknown word", "unended", "empty"],
)
def test_a_reply_that_fails_the_check_becomes_a_template_and_is_counted(run: Path, text: str, ends: bool) -> None:
    async def ask() -> None:
        client = ActPromptClient(run / "bundle", Scripted(run / "bundle", text, ends=ends), "barista_nlg", 1)
        reply = await client.generate("confirm.orderDrink", {"size": "large", "coffeeDrink": "latte"})
        assert reply.fallback
        assert reply.text == "That is a large latte. Is that right?"
        assert (client.replies, client.fallbacks) == (1, 1)

    asyncio.run(ask())


def test_slots_an_act_cannot_say_are_left_out(run: Path) -> None:
    engine = Scripted(run / "bundle", "Great, one {coffeeDrink} is on its way. Anything else?")
    reply = say(run / "bundle", engine, "done.orderDrink", {"coffeeDrink": "mocha", "roast": "dark roast"})
    assert (reply.text, reply.fallback) == ("Great, one mocha is on its way. Anything else?", False)


def test_an_unknown_act_is_refused(run: Path) -> None:
    with pytest.raises(ParleyError, match="unknown act"):
        say(run / "bundle", Scripted(run / "bundle", ""), "sing", {})


def test_slot_errors_are_told_apart() -> None:
    assert SlotErrors.of("{a} {a} {b}", ["a", "c"]) == SlotErrors(missing=1, hallucinated=1, repeated=1)


def test_a_style_of_text_is_stable_and_in_range() -> None:
    drawn = [style_of(f"call-{i}/1", 3) for i in range(60)]
    assert drawn == [style_of(f"call-{i}/1", 3) for i in range(60)]
    assert set(drawn) == {0, 1, 2}
    assert style_of(5, 3) == 2


def test_evaluation_counts_what_the_client_says(run: Path) -> None:
    figures = evaluate(Run.open(run))
    rows = make_data(load_bot(BOT), 7)
    assert figures["all"]["replies"] == len(rows.rows)
    assert figures["held_out"]["replies"] == len(rows.test)
    assert figures["all"]["slot_error_rate"] == 0, "a template says all slots where the network does not"
    assert verify_files(run / "bundle").evaluation["all"]["fallbacks"] == figures["all"]["fallbacks"]


@pytest.mark.parametrize("name", ["tokenizer.json", "bot.json", "manifest.json"])
def test_a_damaged_asset_is_named(run: Path, tmp_path: Path, name: str) -> None:
    for file in ("tokenizer.json", "bot.json", "manifest.json"):
        content = (run / "bundle" / file).read_text()
        (tmp_path / file).write_text(content[: len(content) // 2] if file == name else content)
    with pytest.raises(ParleyError, match=name):
        ActPromptClient(tmp_path, OnnxEngine.from_bundle(tmp_path), "barista_nlg", 1)
