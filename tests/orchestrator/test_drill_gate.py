"""Drills: a retrain on what a broken sensor recorded passes its training and not the gate; one that was taught the test
is refused.

Training a whole STT takes longer than a test may. What is retrained is the champion's output layer, by CTC on frozen
features: real weights, real loss, real audio, seconds instead of hours. The same retraining on sound audio is the
control, so that it is the corruption that is caught and not the retraining.

The corruption is a gross one (every second sample has the wrong sign), and was chosen because it is: an output layer
retrained on a held buffer, on clipping or on mu-law read as A-law stayed as good as before on sound audio. So this
shows that training's own figures can look well while the gate refuses, not that every broken sensor is caught.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from starters import copy_starters  # noqa: E402

from cli.gate import main  # noqa: E402
from models.callers import Voice, synthesise  # noqa: E402
from models.pronunciation import pronunciations  # noqa: E402
from models.stored_audio import stored_digest  # noqa: E402
from parley.audio import Pcm, write_wav  # noqa: E402
from parley.bot import load_bot  # noqa: E402
from parley.bot.grammar import Grammar, Utterance  # noqa: E402
from parley.bundle import Manifest, read_manifest, write_bundle  # noqa: E402
from parley.language import language_of  # noqa: E402
from parley.settings import Settings, settings  # noqa: E402
from parley.utterances import Utterance as Learned  # noqa: E402
from parley.utterances import Utterances, write_utterances  # noqa: E402
from registry.reading import release_of  # noqa: E402
from registry.releasing.aliases import current_aliases  # noqa: E402
from registry.versions.publish import publish  # noqa: E402
from registry.writing import open_for_writing  # noqa: E402

ROOT = Path(__file__).parents[2]
VOICES = [Voice("espeak", f"en-us+{name}") for name in ("m1", "m3", "m5", "f1", "f3", "Andy", "Annie", "Michael")]
_FEATURES, _SEED = "features", 3
pytestmark = pytest.mark.slow


def broken_sensor(pcm: Pcm) -> Pcm:
    """A converter whose sign bit toggles: every second sample has the wrong sign, so the spectrum is mirrored."""
    wrong = pcm.copy()
    wrong[1::2] = -np.maximum(wrong[1::2], -32767)
    return wrong


def _draw(count: int, seed: str) -> list[tuple[Utterance, Voice]]:
    rng, grammar = random.Random(seed), Grammar(load_bot(ROOT / "bots" / "barista"))
    return [(grammar.sample_intent("orderDrink", rng), VOICES[n % len(VOICES)]) for n in range(count)]


class Retraining:
    """The output layer of an STT bundle, to be trained on the features below it."""

    def __init__(self, bundle: Path) -> None:
        self.model = onnx.load(str(bundle / "model.onnx"))
        self.manifest = read_manifest(bundle)
        head = next(n for n in self.model.graph.node if "network.output.linear.bias" in n.input)
        product = next(n for n in self.model.graph.node if set(n.output) & set(head.input))
        found = {t.name: t for t in self.model.graph.initializer}
        self.tensors = (next(found[i] for i in product.input if i in found), found["network.output.linear.bias"])
        tapped = onnx.ModelProto()
        tapped.CopyFrom(self.model)
        source = next(i for i in product.input if i not in found)
        tapped.graph.node.append(onnx.helper.make_node("Identity", [source], [_FEATURES]))
        tapped.graph.output.append(onnx.helper.make_tensor_value_info(_FEATURES, onnx.TensorProto.FLOAT, None))
        self._session = onnxruntime.InferenceSession(tapped.SerializeToString(), providers=["CPUExecutionProvider"])

    def features(self, pcm: Pcm) -> np.ndarray:
        """``[frames, channels]`` of one utterance, streamed as a call is."""
        facts = self.manifest.constants
        size = int(facts["chunk_samples"])
        padded = np.pad(pcm, (0, -len(pcm) % size + -(-int(facts["flush_samples"]) // size) * size))
        state, parts = np.zeros((1, int(facts["state_size"])), np.float32), []
        for start in range(0, len(padded), size):
            feeds = {"pcm": padded[None, start : start + size], "state": state}
            state, part = self._session.run(["new_state", _FEATURES], feeds)
            parts.append(part[0])
        return np.concatenate(parts)

    def train(self, said: Sequence[tuple[str, Pcm]], steps: int = 120) -> tuple[float, float]:
        """CTC by Adam on nine utterances in ten; the loss a phone of the tenth, before and after."""
        torch.manual_seed(_SEED)
        labels = self.manifest.constants["labels"]
        lexicon = pronunciations((word for text, _ in said for word in text.split()), language_of("en"))
        rows = [
            (torch.from_numpy(self.features(pcm)), [labels.index(p) for w in text.split() for p in lexicon[w][0].split()])  # noqa: E501
            for text, pcm in said
        ]  # fmt: skip
        weight, bias = (torch.from_numpy(numpy_helper.to_array(t).copy()).requires_grad_() for t in self.tensors)
        dev, train = rows[::10], [row for n, row in enumerate(rows) if n % 10]

        def loss(batch: list[tuple[torch.Tensor, list[int]]]) -> torch.Tensor:
            scores = torch.nn.utils.rnn.pad_sequence([x for x, _ in batch]) @ weight + bias
            targets = torch.tensor([p for _, phones in batch for p in phones])
            lengths = torch.tensor([len(phones) for _, phones in batch])
            frames = torch.tensor([len(x) for x, _ in batch])
            return torch.nn.functional.ctc_loss(scores.log_softmax(-1), targets, frames, lengths, zero_infinity=True)

        optimizer = torch.optim.Adam([weight, bias], lr=0.02)
        before = loss(dev).item()
        for step in range(steps):
            optimizer.zero_grad()
            loss(train[step % 3 :: 3]).backward()
            optimizer.step()
        for tensor, values in zip(self.tensors, (weight, bias), strict=True):
            tensor.CopyFrom(numpy_helper.from_array(values.detach().numpy(), tensor.name))
        return before, loss(dev).item()

    def export(self, starter: Path, bundle: Path, learned: Sequence[Learned]) -> Path:
        """A bundle with the retrained layer, which says what it learned from."""
        bundle.mkdir(parents=True)
        for asset in ("grammar.json", "lexicon.json"):
            shutil.copyfile(starter / asset, bundle / asset)
        onnx.save(self.model, str(bundle / "model.onnx"))
        digest = sha256("".join(row.sha256 for row in learned).encode()).hexdigest()
        write_utterances(bundle, Utterances(digest, "barista", "synthetic", tuple(learned)))
        lineage = self.manifest.lineage.model_copy(update={"dataset_digest": digest, "seed": _SEED})
        kept = {"version", "files", "lineage", "created", "evaluation"}
        facts = {k: v for k, v in self.manifest.model_dump().items() if k not in kept}
        write_bundle(bundle, Manifest(**facts, lineage=lineage))
        return bundle


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A site of its own, whose champion is the starter release of the coffee bar."""
    repo = tmp_path / "repo"
    copy_starters("barista", repo)
    monkeypatch.setenv("PARLEY_REPO_DIR", str(repo))
    return settings()


def _recordings(folder: Path, per_voice: int) -> Path:
    """What the gate is given: sound audio of synthetic callers, as a manifest."""
    folder.mkdir()
    rows = []
    for number, (utterance, voice) in enumerate(_draw(per_voice * len(VOICES), "evaluation")):
        write_wav(folder / f"{number}.wav", synthesise(utterance.text, voice))
        rows.append({"audio": f"{number}.wav", "speaker": voice.name, "text": utterance.text,
                     "intent": utterance.intent, "slots": utterance.slots})  # fmt: skip
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def _retrain(
    site: Settings, folder: Path, sensor: Callable[[Pcm], Pcm], learned: Sequence[Learned] = ()
) -> tuple[int, float, float]:
    """Retrain on 50 utterances, export, publish: the version's number and the dev loss before and after."""
    starting = release_of(site, "barista").stages["stt"]
    starter = site.repo_dir / starting.model / str(starting.version)
    said = [(u.text, sensor(synthesise(u.text, v))) for u, v in _draw(50, "retraining")]
    retraining = Retraining(starter)
    before, after = retraining.train(said)
    mine = [Learned(sha256(pcm.tobytes()).hexdigest(), f"syn-{n:03d}", "train") for n, (_, pcm) in enumerate(said)]
    bundle = retraining.export(starter, folder / "bundle", [*mine, *learned])
    with open_for_writing(site) as registry:
        return publish(bundle, registry), before, after


def _gate(version: int, manifest: Path, report: Path) -> tuple[int, dict[str, object]]:
    line = [f"stt={version}", "--bot", "barista", "--utterances", str(manifest), "--report", str(report)]
    status = main(line)
    return status, json.loads((report / "verdict.json").read_text())


def test_a_retrain_on_corrupted_audio_passes_training_but_not_the_gate(site: Settings, tmp_path: Path) -> None:
    manifest = _recordings(tmp_path / "evaluation", per_voice=8)
    corrupted, before, after = _retrain(site, tmp_path / "corrupted", broken_sensor)
    assert after < 0.5 * before, "by its own figures the training went well"

    status, verdict = _gate(corrupted, manifest, tmp_path / "report")

    assert status == 1 and verdict["accepted"] is False
    check = next(c for c in verdict["checks"] if c["name"] == "better understanding")  # type: ignore[attr-defined]
    assert check["figures"]["gain"] < -0.05, "and on sound audio it understands less"
    assert "That is worse" in check["sentence"]
    with open_for_writing(site) as registry, registry.catalogue.read() as c:
        now = current_aliases(c, "barista")
    assert (now.champion, now.candidate) == (1, None)


def test_the_same_retrain_on_sound_audio_is_about_as_good_as_before(site: Settings, tmp_path: Path) -> None:
    manifest = _recordings(tmp_path / "evaluation", per_voice=8)
    version, _, _ = _retrain(site, tmp_path / "sound", lambda pcm: pcm)

    _, verdict = _gate(version, manifest, tmp_path / "report")

    check = next(c for c in verdict["checks"] if c["name"] == "better understanding")  # type: ignore[attr-defined]
    assert check["figures"]["gain"] > -0.05


def test_a_candidate_that_learned_from_the_evaluation_set_is_refused_for_leakage(
    site: Settings, tmp_path: Path
) -> None:
    manifest = _recordings(tmp_path / "evaluation", per_voice=1)
    taught = [
        Learned(stored_digest(manifest.parent / f"{n}.wav"), f"rec-{n}", split)
        for n, split in enumerate(["train", "dev", "test"])
    ]
    version, _, _ = _retrain(site, tmp_path / "taught", lambda pcm: pcm, taught)

    status, verdict = _gate(version, manifest, tmp_path / "report")

    assert status == 1
    assert "learned from what it is judged on" in str(verdict["headline"])
    leaks = next(c for c in verdict["checks"] if c["name"] == "leakage")["figures"]["leaks"]  # type: ignore[attr-defined]
    # What it was only tested on taught it nothing.
    assert {leak["what"] for leak in leaks} == {"utterance 0.wav", "utterance 1.wav"}
    assert {leak["learned_by"] for leak in leaks} == {f"barista_stt {version}"}
