"""The network, its training, its export and its client, on a tiny voice made here."""

import asyncio
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.checkpoints import save_checkpoint
from models.contracts import Piece
from models.tts.client import HarmonicNoiseClient
from models.tts.data import HOP, Corpus, Utterance
from models.tts.evaluate import evaluate
from models.tts.export import export, trained
from models.tts.losses import Batch
from models.tts.network import TtsConfig, TtsNetwork
from models.tts.recogniser import bigram_arpa, word_errors
from models.tts.text import Lexicon
from models.tts.train import Recipe, TrainConfig, train, train_on
from parley.bot import load_bot
from parley.bundle import read_manifest, write_bundle
from parley.errors import ParleyError
from parley.runs import Run
from parley.serving.onnx_engine import OnnxEngine

TINY = TtsConfig(encoder_width=16, encoder_layers=2, decoder_width=16, decoder_layers=2, piece_frames=20)
LEXICON = Lexicon(
    {
        "one": ["w", "ah", "n"],
        "latte": ["l", "aa", "t", "ey"],
        "please": ["p", "l", "iy", "z"],
        "a": ["ax"],
        **{chr(c): ["b", "iy"] for c in range(65, 91)},
    },
    asks=False,
)


def make_corpus() -> Corpus:
    rng = np.random.default_rng(5)
    utterances, pitch, voiced = [], [], []
    for n in range(12):
        text = ["One latte, please.", "A latte?", "Please. One."][n % 3]
        sequence = LEXICON.sequence(LEXICON.tokenise(text))
        durations = tuple(int(d) for d in rng.integers(3, 12, len(sequence.ids)))
        frames = sum(durations)
        t = np.arange(frames * HOP) / 8000
        pcm = (8000 * np.sin(2 * np.pi * 160 * t) + rng.normal(0, 500, len(t))).astype(np.int16)
        split = "test" if n >= 10 else "train"
        utterances.append(Utterance(f"u{n}", text, split, sequence.ids, sequence.word_of, durations, pcm))
        pitch.append(np.full(frames, 160 + 10 * np.sin(n), dtype=np.float32))
        voiced.append(np.ones(frames, dtype=np.float32))
    return Corpus(utterances, pitch, voiced, LEXICON, "d" * 64, "test", "en-US")


def learned(corpus: Corpus, path: Path, *, resume: bool = False, **more: Any) -> Run:
    """A voice after a few steps of training."""
    usual = {"seed": 3, "batch": 3, "stretch_frames": 30, "network": TINY}
    config = TrainConfig("barista", **{**usual, **more})
    return train_on(corpus, load_bot("barista"), config, path, resume=resume)


@pytest.fixture
def corpus() -> Corpus:
    return make_corpus()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory):
    """An exported bundle after a few steps of training."""
    corpus = make_corpus()
    path = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        patch.setattr("models.tts.export.load", lambda _: corpus)
        return export(learned(corpus, path, batch=4, stretch_frames=30, steps=4))


def network(seed: int = 0, config: TtsConfig = TINY) -> TtsNetwork:
    torch.manual_seed(seed)
    model = TtsNetwork(config).eval()
    model.vocoder.leave.bias.data.fill_(-3.0)
    return model


def phones(*counts: int) -> torch.Tensor:
    rows = torch.randint(5, 100, (len(counts), max(counts)), generator=torch.Generator().manual_seed(1))
    for row, count in zip(rows, counts, strict=True):
        row[count:] = 0
    return rows


@torch.no_grad()
@pytest.mark.parametrize("piece", [7, 20, 64], ids=lambda n: f"{n} frames")
def test_pieces_laid_end_to_end_are_the_whole(piece: int) -> None:
    model = network()
    hidden, durations, hz = model.plan(phones(23), torch.ones(1, 1))
    total = int(durations.sum())
    whole = model.stretch(hidden, durations, hz, torch.tensor([[0]]), total)
    parts = [model.stretch(hidden, durations, hz, torch.tensor([[s]]), piece) for s in range(0, total, piece)]
    assert whole.abs().max() > 0.01
    torch.testing.assert_close(torch.cat(parts, 1)[:, : total * HOP], whole, atol=2e-6, rtol=0)


@torch.no_grad()
def test_neither_padding_nor_the_batch_changes_a_sentence() -> None:
    model = network()
    batch = phones(9, 23)
    start, rate = torch.tensor([[20], [40]]), torch.tensor([[1.0], [1.3]])
    together = model(batch, start, rate)
    alone = model(batch[:1, :9], start[:1], rate[:1])
    assert (together[0][:1].int() - alone[0].int()).abs().max() <= 1
    assert together[1][0, 9:].sum() == 0
    assert together[2][0] == alone[2][0]


@torch.no_grad()
def test_spectrum_and_back_is_the_signal() -> None:
    vocoder = network().vocoder
    blocks = torch.randn(1, 30, HOP, generator=torch.Generator().manual_seed(2))
    again = vocoder._overlap_add(vocoder._spectrum(blocks) @ vocoder.synthesis)
    torch.testing.assert_close(again, blocks[:, 4:-4].reshape(1, -1), atol=1e-5, rtol=0)


@torch.no_grad()
def test_pulses_have_the_pitch_of_the_knots_and_no_jump() -> None:
    from models.tts.network import locate

    durations = torch.tensor([[10, 20, 10]])
    hz = torch.full((1, 3, 3), 200.0)
    found, pitch = locate(durations, hz, torch.arange(40).unsqueeze(0), HOP)
    torch.testing.assert_close(pitch, torch.full((1, 40), 200.0))
    torch.testing.assert_close(found.advance, torch.full((1, 40), 2.0), atol=1e-4, rtol=0)
    jump = (found.phase[:, :-1] + found.advance[:, :-1] - found.phase[:, 1:] + 0.5) % 1.0 - 0.5
    assert jump.abs().max() < 1e-4


def test_speaking_faster_is_shorter() -> None:
    model = network()
    slow, fast = (int(model.plan(phones(30), torch.tensor([[r]]))[1].sum()) for r in (0.7, 1.6))
    assert fast < 0.7 * slow


def test_a_resumed_run_equals_an_unbroken_one(corpus: Corpus, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    usual = {"steps": 7, "validate_every": 2}
    unbroken = learned(corpus, tmp_path / "unbroken", **usual)
    original = Recipe.batch

    def dying(recipe: Recipe, step: int) -> Batch:
        if step == 5:
            raise KeyboardInterrupt
        return original(recipe, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Recipe, "batch", dying)
        learned(corpus, tmp_path / "broken", **usual)
    resumed = learned(corpus, tmp_path / "broken", **usual, resume=True)

    for name in ("checkpoint/model", "best/model"):
        mine, theirs = (load_file(run.path / f"{name}.safetensors") for run in (unbroken, resumed))
        assert all(torch.equal(mine[key], theirs[key]) for key in mine), name
    assert unbroken.figures()["training"] | {"training_s": 0} == resumed.figures()["training"] | {"training_s": 0}
    with pytest.raises(ParleyError, match="steps = 7, not 9"):
        learned(corpus, tmp_path / "broken", **{**usual, "steps": 9}, resume=True)


def test_a_resume_that_is_refused_leaves_the_corpus_of_the_training(
    corpus: Corpus, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = learned(corpus, tmp_path, steps=1)
    monkeypatch.setattr("models.tts.train.build", lambda *_, **__: pytest.fail("a corpus was made"))

    with pytest.raises(ParleyError, match="sentences = 1500, not 10"):
        train(TrainConfig("barista", seed=3, batch=3, stretch_frames=30, steps=1, network=TINY, sentences=10),
              run.path, resume=True)  # fmt: skip


def test_training_stops_when_held_out_audio_no_longer_improves(
    corpus: Corpus, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr("models.tts.train.validate", lambda *_: {"held_out_audio": 1.0})
    run = learned(corpus, tmp_path, batch=2, stretch_frames=20, validate_every=2, patience=2, steps=50)
    assert run.figures()["training"]["steps"] == 6, "one best look, then two that are no better"


@pytest.mark.parametrize("earlier", [False, True], ids=["a run", "a run of an earlier Parley"])
def test_a_voice_can_start_from_another_run(
    corpus: Corpus, tmp_path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr("models.tts.train.learning_rate", lambda *_: 0.0)
    first = learned(corpus, tmp_path / "first", steps=1)
    if earlier:
        shape = json.loads((first.path / "config.json").read_text())
        save_checkpoint(first.path / "average", trained(first), None, {"network": shape})
        (first.path / "config.json").unlink()
        shutil.rmtree(first.path / "best")
    second = learned(corpus, tmp_path / "second", steps=1, seed=4, init=tmp_path / "first", network=TtsConfig())
    taught, again = trained(first), trained(second)
    assert again.config == taught.config
    for name, tensor in taught.state_dict().items():
        torch.testing.assert_close(tensor, again.state_dict()[name], msg=name)
    with pytest.raises(ParleyError, match="no weights to begin with"):
        learned(corpus, tmp_path / "third", steps=1, init=tmp_path / "nowhere")


def test_another_corpus_than_that_of_the_training_is_refused(bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(make_corpus(), digest="e" * 64)
    monkeypatch.setattr("models.tts.export.load", lambda _: other)
    run = Run.open(bundle.parent)

    for verb in (export, evaluate):
        with pytest.raises(ParleyError, match="the dataset is eeeeeeeeeeee now, the training saw dddddddddddd"):
            verb(run)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_export_agrees_with_torch(precision: str, bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus()
    monkeypatch.setattr("models.tts.export.load", lambda _: corpus)
    manifest = read_manifest(export(Run.open(bundle.parent), precision))
    assert manifest.parity["precision"] == precision
    assert manifest.parity["max_abs_error"]["durations"] == 0
    assert manifest.parity["inputs_checked"] == 2
    assert manifest.constants["hop"] == HOP and manifest.model == "barista_tts"
    assert (manifest.implementation, manifest.sample_rate) == ("harmonic-noise/1", 8000)
    assert manifest.constants["language"] == "en-US" and manifest.constants["symbols"] == list(LEXICON.symbols)


def test_export_fails_when_the_file_is_not_the_network(bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus()
    monkeypatch.setattr("models.tts.export.load", lambda _: corpus)
    before = read_manifest(bundle)

    def wrong(model: TtsNetwork):
        return lambda feed: [out.numpy() + 100 for out in model(*(torch.from_numpy(v) for v in feed.values()))]

    monkeypatch.setattr("models.tts.export._torch_reference", wrong)
    with torch.no_grad(), pytest.raises(ParleyError, match="parity"):
        export(Run.open(bundle.parent), "fp32")
    assert read_manifest(bundle) == before, "a failed export leaves the bundle that was there"


def speak(bundle, text: str, **options) -> list[Piece]:
    async def collect() -> list[Piece]:
        async with OnnxEngine.from_bundle(bundle, threads=1) as engine:
            client = HarmonicNoiseClient(bundle, engine, "barista_tts", 1, asks=False)
            return [piece async for piece in client.synthesise(text, **options)]

    return asyncio.run(collect())


def test_words_end_in_order_within_the_audio_and_in_their_piece(bundle) -> None:
    pieces = speak(bundle, "One latte, please. A latte? Please, one latte.")
    words = [w for piece in pieces for w in piece.words]
    assert [w.word for w in words] == ["One", "latte", "please", "A", "latte", "Please", "one", "latte"]
    ends = [w.end_s for w in words]
    assert ends == sorted(ends) and all(w.start_s < w.end_s for w in words)
    assert len(pieces) > 2 and [p.last for p in pieces] == [False] * (len(pieces) - 1) + [True]
    played = 0.0
    for piece in pieces:
        begin, played = played, played + len(piece.pcm) / 8000
        assert all(begin < w.end_s <= played + 1e-6 for w in piece.words)
    assert ends[-1] <= played <= ends[-1] + 0.1 + 1e-6


def test_words_of_the_reply_are_timed_however_many_it_takes_to_say_them(bundle) -> None:
    reply = "Dr. Lee, call 555-0123 or pay $5 million by 5 p.m. on 3/14/2024!"
    words = [w for piece in speak(bundle, reply) for w in piece.words]
    assert [w.word for w in words] == [
        "Dr", "Lee", "call", "555-0123", "or", "pay", "$5", "million", "by", "5", "p.m", "on", "3/14/2024",
    ]  # fmt: skip
    starts, ends = [w.start_s for w in words], [w.end_s for w in words]
    assert starts == sorted(starts) and ends == sorted(ends)
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


def test_long_texts_are_cut_and_times_run_on(bundle) -> None:
    text = "One latte, please. " * 60
    pieces = speak(bundle, text)
    ends = [w.end_s for piece in pieces for w in piece.words]
    assert len(ends) == 180 and ends == sorted(ends)
    assert sum(p.last for p in pieces) == 1 and pieces[-1].last
    assert ends[-1] <= sum(len(p.pcm) for p in pieces) / 8000 + 1e-6


def test_nothing_to_say_is_one_empty_last_piece(bundle) -> None:
    (piece,) = speak(bundle, "...")
    assert piece.last and len(piece.pcm) == 0 and piece.words == ()


def test_the_next_piece_is_asked_for_while_one_plays_and_dropped_when_the_caller_leaves(bundle) -> None:
    class Recording:
        def __init__(self, engine: OnnxEngine) -> None:
            self.engine, self.started, self.gate = engine, [], asyncio.Event()

        async def infer(self, model, version, inputs, **options):
            self.started.append(int(inputs["piece_start"][0, 0]))
            if self.started[-1] > 0:
                await self.gate.wait()
            return await self.engine.infer(model, version, inputs, **options)

    async def call() -> list[int]:
        async with OnnxEngine.from_bundle(bundle, threads=1) as engine:
            recording = Recording(engine)
            client = HarmonicNoiseClient(bundle, recording, "barista_tts", 1, asks=False)  # type: ignore[arg-type]
            speech = client.synthesise("One latte please, one latte please.")
            await anext(speech)
            await asyncio.sleep(0)
            started = list(recording.started)
            await speech.aclose()
            assert len(asyncio.all_tasks()) == 1, "the request for the next piece was cancelled"
            return started

    assert asyncio.run(call()) == [0, TINY.piece_frames]


def test_a_bundle_with_other_symbols_is_refused(bundle, tmp_path) -> None:
    import shutil

    other = tmp_path / "bundle"
    shutil.copytree(bundle, other)
    manifest = read_manifest(other)
    write_bundle(other, manifest.model_copy(update={"constants": {**manifest.constants, "symbols": ["x"]}}))
    with pytest.raises(ParleyError, match="symbols"):
        HarmonicNoiseClient(other, OnnxEngine.from_bundle(other), "barista_tts", 1)


def test_word_errors_count_edits() -> None:
    assert word_errors(["a", "b", "c"], ["a", "x", "c", "d"]) == 2
    assert word_errors([], ["a"]) == 1


def test_bigram_shares_of_a_word_add_up_to_one() -> None:
    arpa = bigram_arpa([["a", "b"], ["a", "a"]])
    unigrams, pairs = {}, {}
    for line in arpa.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0][0] in "-0":
            try:
                unigrams[fields[1]] = (10 ** float(fields[0]), 10 ** float(fields[2]))
            except ValueError:
                pairs[fields[1], fields[2]] = 10 ** float(fields[0])
    for first in ("<s>", "a", "b"):
        seen = {w: p for (f, w), p in pairs.items() if f == first}
        unseen = sum(p for w, (p, _) in unigrams.items() if w not in seen and w != "<s>")
        assert sum(seen.values()) + unigrams[first][1] * unseen == pytest.approx(1.0, abs=2e-3)


def test_figures_of_a_run_are_json(bundle) -> None:
    figures = json.loads((bundle.parent / "figures.json").read_text())
    assert figures["training"]["steps"] == 4 and figures["export"]["bytes"] > 0
