"""The NLU from training to an answer, on a network that learns for seconds."""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from manifests import row, write_manifest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from safetensors.torch import load_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from models.nlu import evaluate as evaluation  # noqa: E402
from models.nlu.client import JointBioClient, encode, fill, spans  # noqa: E402
from models.nlu.data import OUT_OF_SCOPE, OutOfScope, Sizes, example, make_data, make_tokenizer, noise  # noqa: E402
from models.nlu.evaluate import span_f1  # noqa: E402
from models.nlu.export import export  # noqa: E402
from models.nlu.train import TrainConfig, train  # noqa: E402
from models.tokenizer import read_tokenizer  # noqa: E402
from parley.bot import load_bot  # noqa: E402
from parley.bot.grammar import Grammar  # noqa: E402
from parley.bundle import verify_files  # noqa: E402
from parley.command import exit_with  # noqa: E402
from parley.errors import ParleyError  # noqa: E402
from parley.runs import Run  # noqa: E402
from parley.serving.onnx_engine import OnnxEngine  # noqa: E402

BOT = Path(__file__).parents[2] / "bots" / "barista" / "bot.yaml"
TINY = TrainConfig(str(BOT), steps=20, batch=16, rows=400, look_every=10)
SMALL = Sizes(train=400, valid=100, test=200)


@pytest.fixture(autouse=True)
def _no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "nlu"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        export(train(TINY, path))
    return path


def test_no_test_sentence_is_in_training() -> None:
    data = make_data(load_bot(BOT), 7, SMALL)
    assert len(data.test) > 50
    assert not {e.text for e in data.train} & {e.text for e in data.test}
    assert {e.intent for e in data.train} == {e.intent for e in data.train} & set(data.intents)


def test_the_same_seed_names_the_same_dataset() -> None:
    bot = load_bot(BOT)
    assert make_data(bot, 7, SMALL).digest == make_data(bot, 7, SMALL).digest
    assert make_data(bot, 7, SMALL).digest != make_data(bot, 8, SMALL).digest


def test_the_same_rows_give_the_same_vocabulary_in_another_process() -> None:
    code = (
        "from models.nlu.data import *; from parley.bot import load_bot; import sys; b = load_bot(sys.argv[1]);"
        "print(make_tokenizer(b, make_data(b, 7, Sizes(train=400, valid=100, test=200)).train).to_str())"
    )
    command = [sys.executable, "-c", code, str(BOT)]
    there = subprocess.run(command, cwd=BOT.parent.parent.parent, capture_output=True, text=True, check=True).stdout
    bot = load_bot(BOT)
    here = make_tokenizer(bot, make_data(bot, 7, SMALL).train)
    assert Tokenizer.from_str(there).get_vocab() == here.get_vocab()


@pytest.mark.parametrize("name", ["barista", "bank"])
def test_noise_keeps_every_slot_value(name: str) -> None:
    bot = load_bot(BOT.parent.parent / name)
    grammar, rng = Grammar(bot), random.Random(3)
    for _ in range(300):
        utterance = grammar.sample(rng)
        for drawn in (example(utterance, "clean"), noise(bot, utterance, rng)):
            assert fill(drawn.words, drawn.tags, bot.slots, bot.speech) == (utterance.slots, True)


def test_out_of_scope_sentences_are_never_phrases_of_the_bot() -> None:
    bot = load_bot(BOT)
    outside, grammar, rng = OutOfScope(bot), Grammar(bot), random.Random(3)
    assert not [s for s in (outside.sample("train", rng) for _ in range(300)) if grammar.accepts(s)]


def test_a_word_never_seen_is_spelt_not_unknown() -> None:
    bot = load_bot(BOT)
    tokenizer = make_tokenizer(bot, make_data(bot, 7, SMALL).train)
    said = encode(tokenizer, "Xylophone, Café latte!", 64)
    assert said.words == ["xylophone", "cafe", "latte"]
    unknown = tokenizer.token_to_id("[UNK]")
    assert unknown not in said.ids
    assert said.ids[said.first[2]] == tokenizer.token_to_id("latte")


def test_a_sentence_longer_than_the_network_reads_is_cut_at_a_word() -> None:
    bot = load_bot(BOT)
    tokenizer = make_tokenizer(bot, make_data(bot, 7, SMALL).train)
    said = encode(tokenizer, "latte " * 500, 64)
    assert (len(said.ids), len(said.first), len(said.words)) == (64, 64, 64)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O B-a I-a O", [("a", 1, 3)]),
        ("B-a B-a", [("a", 0, 1), ("a", 1, 2)]),
        ("B-a I-b", [("a", 0, 1), ("b", 1, 2)]),
        ("I-a I-a O", [("a", 0, 2)]),
        ("O O", []),
    ],
)
def test_spans_follow_conlleval(tags: str, expected: list[tuple[str, int, int]]) -> None:
    assert spans(tags.split()) == expected


def test_span_f1_counts_only_exact_spans() -> None:
    wanted = [["B-a", "I-a", "O", "B-b"], ["O", "O"]]
    got = [["B-a", "O", "O", "B-b"], ["B-b", "O"]]
    figures = span_f1(wanted, got)
    assert (figures["right"], figures["found"], figures["there"]) == (1, 3, 2)
    assert figures["precision"] == pytest.approx(1 / 3)
    assert figures["recall"] == pytest.approx(1 / 2)
    assert figures["f1"] == pytest.approx(0.4)
    assert span_f1([["O"]], [["O"]])["f1"] == 1.0
    assert span_f1([["B-a"]], [["O"]])["f1"] == 0.0


@pytest.mark.parametrize(
    ("said", "tags", "number"),
    [
        ("it's one two three four", "O B I I I", "1234"),
        ("number one two three four", "B I I I I", "1234"),  # a stray word at the edge
        ("one two three four five six seven eight nine", "B I I I I I I I I", None),
        ("one two three four five six seven eight nine", "B I I I I I I I O", None),  # the network's own cut
        ("nine one two three four five six seven eight", "O B I I I I I I I", None),
        ("one two three", "B I I", None),
    ],
)
def test_a_number_is_whole_or_none(said: str, tags: str, number: str | None) -> None:
    named = [tag if tag == "O" else f"{tag}-accountNumber" for tag in tags.split()]

    slots, whole = fill(said.split(), named, load_bot("bank").slots, load_bot("bank").speech)

    assert slots.get("accountNumber") == number and whole == (number is not None)


def test_a_span_with_a_stray_word_still_gives_its_value() -> None:
    bot = load_bot(BOT)
    words, tags = ["a", "large", "um", "latte"], ["B-size", "I-size", "I-size", "B-coffeeDrink"]
    assert fill(words, tags, bot.slots, bot.speech) == ({"size": "large", "coffeeDrink": "latte"}, True)
    assert fill(["huge"], ["B-size"], bot.slots, bot.speech) == ({}, False)


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
    state = json.loads((tmp_path / "checkpoint" / "state.json").read_text())
    assert state["place"]["step"] == 10
    train(TINY, tmp_path, resume=True)
    whole, resumed = (load_file(path / "checkpoint" / "model.safetensors") for path in (run, tmp_path))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_resume_with_other_parameters_is_refused(run: Path) -> None:
    with pytest.raises(ParleyError, match="batch = 16, not 8"):
        train(replace(TINY, batch=8), run, resume=True)


def test_a_version_is_of_the_bot_that_training_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "barista" / "bot.yaml"
    file.parent.mkdir()
    file.write_text(BOT.read_text())
    monkeypatch.setenv("PARLEY_BOTS_DIR", str(tmp_path))
    trained = load_bot(file)
    run = train(replace(TINY, bot=str(file), steps=2), tmp_path / "run")
    file.write_text(file.read_text().replace("latte", "tisane"))

    bundle = export(run)
    figures = evaluation.evaluate(run)

    kept = (bundle / "bot.json").read_text()
    assert "latte" in kept and "tisane" not in kept
    assert verify_files(bundle).lineage.bot_digest == trained.digest != load_bot(file).digest
    assert figures and str(tmp_path) not in verify_files(bundle).lineage.model_dump_json()
    with pytest.raises(ParleyError, match="bot_digest = "):
        train(replace(TINY, bot=str(file), steps=2), tmp_path / "run", resume=True)


def test_a_training_that_was_not_calibrated_is_not_exported(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "labels.json").unlink()

    with pytest.raises(ParleyError, match="no labels.json") as caught:
        export(Run.open(tmp_path / "run"))
    assert caught.value.mend == "run the training to its end"


def test_the_bundle_is_whole_and_agrees_with_torch(run: Path) -> None:
    manifest = verify_files(run / "bundle")
    assert set(manifest.files) == {"model.onnx", "tokenizer.json", "labels.json", "bot.json", "utterances.tsv"}
    assert manifest.parity["inputs_checked"] > 60 and manifest.implementation == "joint-bio/1"
    assert manifest.parity["decisions_equal"]
    assert max(manifest.parity["max_abs_error"].values()) <= 1e-4


def test_the_client_answers_from_the_bundle_alone(run: Path) -> None:
    async def ask() -> None:
        async with OnnxEngine.from_bundle(run / "bundle", threads=1) as engine:
            client = JointBioClient(run / "bundle", engine, "barista_nlu", 1)
            understanding = await client.parse("can i have a large latte")
            assert 0 <= understanding.confidence <= 1
            assert understanding.intent in [*load_bot(BOT).intents, OUT_OF_SCOPE]
            for silence in ("", "  ", "?!"):
                nothing = await client.parse(silence)
                assert (nothing.out_of_scope, nothing.slots) == (True, {})

    asyncio.run(ask())


def test_evaluation_lands_in_the_manifest_with_its_counts(run: Path, tmp_path: Path) -> None:
    texts = {"a latte": {"coffeeDrink": "latte"}, "a mocha": {"coffeeDrink": "latte"}, None: {}}
    rows = [row(f"{n}.wav", text=text, intent="inform", slots=slots) for n, (text, slots) in enumerate(texts.items())]
    recordings = write_manifest(tmp_path / "manifest.jsonl", rows)
    figures = evaluation.evaluate(Run.open(run), recordings=recordings)
    assert verify_files(run / "bundle").evaluation == json.loads(json.dumps(figures))
    assert figures["recordings"]["rows"] == 1
    assert figures["recordings"]["rows_left_out"] == 2
    assert figures["test"]["rows"] == figures["test"]["clean"]["rows"] + figures["test"]["noisy"]["rows"]


@pytest.mark.parametrize("name", ["tokenizer.json", "labels.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_asset_is_named(run: Path, tmp_path: Path, name: str, damage: str) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for file in ("tokenizer.json", "labels.json"):
        content = (run / "bundle" / file).read_text()
        if file != name:
            (bundle / file).write_text(content)
        elif damage == "cut":
            (bundle / file).write_text(content[: len(content) // 2])
    with pytest.raises(ParleyError, match=name):
        JointBioClient(bundle, OnnxEngine.from_bundle(bundle), "barista_nlu", 1)


def test_a_tokenizer_that_is_not_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("[1, 2]")
    with pytest.raises(ParleyError, match="damaged"):
        read_tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("verb", ["train", "export", "evaluate"])
@pytest.mark.parametrize("family", ["nlu", "nlg"])
def test_the_commands_say_what_is_wrong_in_one_line(
    family: str, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"models.{family}.{verb}")
    arguments = ["--bot", "nobody", "--out", str(tmp_path)] if verb == "train" else [str(tmp_path / "nothing")]
    with pytest.raises(SystemExit) as ended:
        exit_with(lambda: module.main(arguments))
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.count("\n") == 1
    assert " - " in said, "the line says how to mend it"


def test_the_clients_need_no_torch() -> None:
    code = "import sys, models.nlu.client, models.nlg.client; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=BOT.parent.parent.parent).returncode == 0
