"""The STT family end to end on a small dataset: stream equals offline, resume equals straight, export, client."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from models import caller_plans, exporting
from models.caller_plans import ALONE
from models.callers import Voice
from models.dataset import Dataset, check_bot, load_dataset
from models.dataset_making import make_dataset
from models.run_directory import bot_of
from models.stt import export
from models.stt.client import PhoneCtcClient
from models.stt.data import Batch
from models.stt.evaluate import decode, edit_distance, evaluate
from models.stt.network import SttConfig, SttNetwork
from models.stt.splice import align
from models.stt.train import Recipe, TrainConfig, train
from parley.bot import load_bot
from parley.bundle import read_manifest, verify_files
from parley.errors import ParleyError
from parley.language.english.voices import ACCENTS
from parley.recordings import read_recordings
from parley.runs import Run
from parley.serving.onnx_engine import OnnxEngine
from parley.utterances import read_utterances
from registry.versions.inspection import inspect_bundle

ROOT = Path(__file__).parents[2]
SMALL = SttConfig(channels=16, blocks=((1, 2), (2, 2), (1, 0)), gate=4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("dataset")
    return make_dataset(load_bot(ROOT / "bots" / "barista"), out, synthetic=120, seed=3)


def _config(dataset: Dataset, **more: Any) -> TrainConfig:
    usual = {"seed": 3, "steps": 8, "batch": 4, "freeze_at": 0.5, "look_every": 4, "calibration": 3, "config": SMALL}
    return TrainConfig(**{"bot": "barista", "data": dataset.path, **usual, **more})


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 2**31))
@settings(max_examples=20)
def test_any_chunking_of_the_stream_gives_the_offline_scores(chunks: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    network = SttNetwork(SMALL).eval()
    pcm = torch.randn(2, sum(chunks) * 240) * 3000

    with torch.no_grad():
        offline, _ = network(pcm)
        state, parts, at = network.initial_state(2), [], 0
        for n in chunks:
            part, state = network.step(pcm[:, at : at + n * 240], state)
            parts.append(part)
            at += n * 240

    assert torch.allclose(torch.cat(parts, dim=1), offline, atol=2e-4)


@pytest.mark.parametrize("dies_at", [5, 7])
def test_a_run_that_was_interrupted_ends_where_a_straight_one_ends(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    config = _config(dataset, steps=10, look_every=3)
    straight = train(config, tmp_path / "straight")
    original = Recipe.batch

    def dying(recipe: Recipe, step: int) -> Batch:
        if step == dies_at:
            raise KeyboardInterrupt
        return original(recipe, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Recipe, "batch", dying)
        train(config, tmp_path / "stopped")
    resumed = train(config, tmp_path / "stopped", resume=True)

    for name in ("checkpoint/model", "checkpoint/average", "best/model"):
        mine, theirs = (load_file(run.path / f"{name}.safetensors") for run in (straight, resumed))
        assert all(torch.equal(mine[key], theirs[key]) for key in mine), name


def test_resume_with_other_parameters_is_refused(dataset: Dataset, run: Run) -> None:
    with pytest.raises(ParleyError, match="batch = 4, not 5"):
        train(_config(dataset, batch=5), run.path, resume=True)
    with pytest.raises(ParleyError, match="config = .*'channels': 16.*, not .*'channels': 8"):
        train(_config(dataset, config=replace(SMALL, channels=8)), run.path, resume=True)


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = train(_config(dataset), tmp_path_factory.mktemp("run"))
    assert export.export(run) == run.bundle_path
    return run


def test_the_bundle_binds_files_contract_and_lineage(run: Run, dataset: Dataset) -> None:
    manifest = verify_files(run.bundle_path)

    assets = {"grammar.json", "lexicon.json", "utterances.tsv"}
    assert manifest.model == "barista_stt" and set(manifest.files) == {"model.onnx"} | assets
    assert manifest.lineage.dataset_digest == dataset.digest
    assert not any(str(value).startswith("/") for value in manifest.lineage.params.values())
    assert manifest.parity["inputs_checked"] > 0 and max(manifest.parity["max_abs_error"].values()) <= 1e-4
    assert manifest.inputs[1].dims == manifest.outputs[1].dims == [SMALL.state_size()]
    assert manifest.constants["chunk_samples"] * 1000 / 8000 <= 320
    assert manifest.constants["language"] == "en-US"
    assert (manifest.implementation, manifest.sample_rate) == ("phone-ctc-grammar/1", 8000)
    learned = read_utterances(run.bundle_path)
    assert learned and {row.sha256 for row in learned.rows} == {row.sha256 for row in dataset.rows}
    assert (learned.dataset, learned.bot) == (dataset.digest, "barista")


def test_dataset_that_changed_since_the_training_is_refused(run: Run, dataset: Dataset, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(run.path, tmp_path / "copy"), run.params | {"dataset_digest": "0" * 64})

    with pytest.raises(ParleyError, match="the training saw 000000000000"):
        export.export(copy)
    with pytest.raises(ParleyError, match="the training saw 000000000000"):
        evaluate(copy)


def test_the_grammar_of_a_version_is_the_bot_that_training_saw(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "barista" / "bot.yaml"
    file.parent.mkdir()
    shutil.copyfile(ROOT / "bots" / "barista" / "bot.yaml", file)
    monkeypatch.setenv("PARLEY_BOTS_DIR", str(tmp_path))
    trained = load_bot(file)
    run = train(_config(dataset, bot=str(file), steps=2, freeze_at=0.0, look_every=2), tmp_path / "run")
    file.write_text(file.read_text().replace("latte", "tisane"))

    bundle = export.export(run)

    said = set(json.loads((bundle / "lexicon.json").read_text()))
    assert "latte" in said and "tisane" not in said
    assert read_manifest(bundle).lineage.bot_digest == trained.digest != load_bot(file).digest
    assert all("tisane" not in slot.model_dump_json() for slot in bot_of(run).slots.values())


def test_the_client_streams_and_batches_like_torch(run: Run, dataset: Dataset) -> None:
    network, pcm = export.load_network(run), dataset.heard(dataset.rows[0])[:9600]
    with torch.no_grad():
        flush = torch.zeros(1, SMALL.flush_samples // 240 * 240 + 240)
        padded = torch.cat([torch.from_numpy(pcm.astype(np.float32))[None], flush], dim=1)
        offline = network(padded[:, : padded.shape[1] // 240 * 240])[0][0].numpy()

    async def stream() -> np.ndarray:
        async with OnnxEngine.from_bundle(run.bundle_path) as engine:
            client = PhoneCtcClient(run.bundle_path, engine, "", 1)
            seen: list[np.ndarray] = []
            stream = client.new_stream()
            stream._decoder.accept = seen.append  # type: ignore[method-assign, assignment]
            for at in range(0, len(pcm), 160):
                await stream.accept(pcm[at : at + 160])
            await stream.finish()
            return np.concatenate(seen)

    scores = asyncio.run(stream())
    n = min(len(scores), len(offline))
    assert n >= len(pcm) // 240 and np.allclose(scores[:n], offline[:n], atol=1e-3)


def test_a_transcript_is_a_sentence_of_the_bot(run: Run, dataset: Dataset) -> None:
    from parley.bot.grammar import Grammar

    async def hear() -> str:
        async with OnnxEngine.from_bundle(run.bundle_path) as engine:
            transcript = await decode(PhoneCtcClient(run.bundle_path, engine, "", 1), dataset.heard(dataset.rows[1]))
            assert 0 <= transcript.confidence <= 1
            return transcript.text

    assert Grammar(load_bot("barista")).accepts(asyncio.run(hear()))


def test_a_wrong_graph_fails_the_export(run: Run, tmp_path: Path) -> None:
    other = SttNetwork(SMALL).eval()
    feeds = [
        {"pcm": np.ones((1, SMALL.chunk_samples), np.int16), "state": np.zeros((1, SMALL.state_size()), np.float32)}
    ]

    def run_torch(feed: exporting.Feeds) -> list[np.ndarray]:
        with torch.no_grad():
            return [t.numpy() for t in export.Step(other)(*(torch.from_numpy(feed[n]) for n in ("pcm", "state")))]

    with pytest.raises(ParleyError, match="parity: "):
        exporting.check_parity(run_torch, run.bundle_path / "model.onnx", feeds, 1e-4)


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8-weights"])
def test_smaller_precisions_keep_the_contract(run: Run, precision: str, tmp_path: Path) -> None:
    before = read_manifest(run.bundle_path)
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    export.export(Run.open(copy), precision)
    after = verify_files(copy / "bundle")

    inspect_bundle(copy / "bundle")
    assert after.parity["precision"] == precision and after.inputs == before.inputs and after.outputs == before.outputs


def test_what_int8_spares_is_the_features(run: Run) -> None:
    graph = onnx.load(str(run.bundle_path / "model.onnx")).graph
    read = {name for node in graph.node if node.name in export.INT8_KEEPS for name in node.input}
    assert {"network.features.dft", "network.features.mel"} <= read


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_tensorrt_without_a_gpu_says_so(run: Run) -> None:
    with pytest.raises(ParleyError, match="needs an NVIDIA GPU"):
        exporting.tensorrt(run.bundle_path / "model.onnx", {})


def test_a_damaged_asset_is_named(run: Run, tmp_path: Path) -> None:
    import shutil

    bundle = tmp_path / "bundle"
    shutil.copytree(run.bundle_path, bundle)
    (bundle / "grammar.json").write_text("{")
    engine = OnnxEngine.from_bundle(run.bundle_path)

    with pytest.raises(ParleyError, match="decoder assets"):
        PhoneCtcClient(bundle, engine, "", 1)


def test_the_same_inputs_give_the_same_digest_and_another_seed_another(dataset: Dataset, tmp_path: Path) -> None:
    bot = load_bot("barista")
    again = make_dataset(bot, tmp_path / "again", synthetic=120, seed=3)
    other = make_dataset(bot, tmp_path / "other", synthetic=12, seed=4)

    assert again.digest == dataset.digest == load_dataset(dataset.path).digest
    assert other.digest != make_dataset(bot, tmp_path / "other2", synthetic=12, seed=5).digest


def test_every_voice_says_the_words_of_a_number_alone_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voices = [Voice("flite", "slt"), Voice("espeak", "en-us+m3")]
    monkeypatch.setattr(caller_plans, "speakers", lambda _: voices)
    monkeypatch.setattr(caller_plans, "foreigners", lambda _: [Voice("espeak", "el+m3")])

    made = make_dataset(load_bot("digits"), tmp_path, synthetic=3, seed=3, alone=True)

    said = [r for r in made.rows if r.id.startswith(ALONE)]
    counts = {v: sum(r.speaker == v for r in said) for v in ("flite:slt", "espeak:en-us+m3", "espeak:el+m3")}
    assert counts == {"flite:slt": 8 * 13, "espeak:en-us+m3": 13, "espeak:el+m3": 11}
    assert all(0.1 < r.speech_end_s - r.speech_start_s < 1.5 for r in said)
    assert set(align(made)) >= {r.id for r in said}


def test_foreign_callers_say_what_the_bot_takes_and_are_added_to_the_others(tmp_path: Path) -> None:
    bot, others = load_bot("digits"), ["the quick brown fox"]

    plain = make_dataset(bot, tmp_path / "plain", synthetic=4, seed=3, others=others)
    more = make_dataset(bot, tmp_path / "more", synthetic=4, seed=3, others=others, foreign=6)

    foreign = [r for r in more.rows if r.id.startswith("foreign-")]
    assert more.rows[: len(plain.rows)] == plain.rows and len(more.rows) == len(plain.rows) + 6
    assert {r.speaker.split(":")[1].split("+")[0] for r in foreign} <= set(ACCENTS)
    assert any(r.intent for r in foreign) and all(r.text and r.speech_end_s > r.speech_start_s for r in foreign)


def test_a_bot_without_digits_has_no_words_of_digits_to_say(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="takes no digits"):
        make_dataset(load_bot("barista"), tmp_path, synthetic=1, seed=3, alone=True)

    assert not list(tmp_path.iterdir())


def test_an_interrupted_dataset_resumes_and_an_altered_manifest_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "set"
    first = make_dataset(load_bot("barista"), out, synthetic=20, seed=3)
    lost = out / first.rows[4].audio
    kept = out / first.rows[5].audio
    stamp = kept.stat().st_mtime_ns
    lost.unlink()

    assert make_dataset(load_bot("barista"), out, synthetic=20, seed=3).digest == first.digest
    assert lost.is_file() and kept.stat().st_mtime_ns == stamp
    with (out / "dataset.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(ParleyError, match="does not match its digest"):
        load_dataset(out)


def test_no_speaker_is_in_two_splits(recordings: Path, tmp_path: Path) -> None:
    made = make_dataset(load_bot("barista"), tmp_path, recordings=read_recordings(recordings), synthetic=30, seed=7)
    homes: dict[str, set[str]] = {}
    for row in made.rows:
        homes.setdefault(row.speaker, set()).add(row.split)

    assert all(len(splits) == 1 for splits in homes.values())
    assert {row.split for row in made.rows if row.source == "recording"} == {"train", "dev", "test"}


@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
def test_edit_distance_is_a_metric(a: list[str], b: list[str]) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


def test_another_bots_dataset_is_refused_in_training_and_export(dataset: Dataset, run: Run) -> None:
    with pytest.raises(ParleyError, match="a dataset of bot barista, the model is for bank") as caught:
        check_bot(dataset, "bank")
    assert "parley dataset --bot bank" in caught.value.mend
    other = Run(run.path, {**run.params, "bot": "bank"})

    with pytest.raises(ParleyError, match="a dataset of bot barista"):
        export.export(other)
    with pytest.raises(ParleyError, match="a dataset of bot barista"):
        evaluate(other)
