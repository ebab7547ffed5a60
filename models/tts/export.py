"""From a training run to a bundle: the graph, the lexicon, the manifest.

    python -m models.tts.export runs/tts-barista [--precision fp32|fp16|int8|int8-weights] [--tensorrt]

``fp16`` (here the same as ``fp16-weights``) stores weights in half precision and computes in single: half the size, and
durations and pulse phases that do not depend on a server's rounding. ``int8`` quantises the vocoder's matrix products;
the encoder, which decides durations, stays as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.exporting import PRECISIONS, Feeds, check_parity, convert, list_utterances, staged, tensorrt, to_onnx
from models.training import environment, git_lineage, load_checkpoint
from models.tts.client import IMPLEMENTATION
from models.tts.data import Corpus, load
from models.tts.network import TtsConfig, TtsNetwork
from models.weights import SMALLEST, matching_nodes, store_weights
from parley.arguments import ArgumentParser
from parley.audio import SAMPLE_RATE
from parley.bundle import Lineage, Manifest, TensorSpec, write_bundle
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import sha256_json
from parley.runs import Run
from parley.utterances import Utterance, Utterances

_TOLERANCE = {"fp32": 5e-3, "fp16": 5e-3, "fp16-weights": 5e-3, "int8": 0.25, "int8-weights": 0.25}
"""Largest difference of a sample, relative to the piece's peak. int8 changes filters, not durations or pulses."""
_REQUIRES = {"nlg.text": "written"}
"""It reads out figures, prices and signs as a person would (its language's reader), from text as one writes it."""
_INPUTS = ("phones", "piece_start", "rate")
_OUTPUTS = ("pcm", "durations", "frames")
MAX_BATCH = 16
INT8_KEEPS = ("/encoder/*", "/vocoder/enter/*", "/vocoder/leave/*")
"""Nodes that int8 leaves in single precision: the encoder's, which decide durations, and the vocoder's ends."""


def trained(run: Run) -> TtsNetwork:
    """The run's averaged weights.

    Raises:
        ParleyError: the run has no checkpoint.
    """

    path = run.path / "average"
    if not (path / "state.json").is_file():
        raise ParleyError("no checkpoint", where=str(path), mend="train first")
    model = TtsNetwork(TtsConfig(**json.loads((path / "state.json").read_text(encoding="utf-8"))["network"]))
    load_checkpoint(path, model)
    return model.eval()


def real_inputs(corpus: Corpus, count: int) -> list[Feeds]:
    """Requests as a call makes them: held-out sentences, first and later pieces, three speeds."""
    feeds: list[Feeds] = []
    chosen = (corpus.split("test") or corpus.split("train"))[:count]
    for n, index in enumerate(chosen):
        ids = corpus.utterances[index].ids
        phones = np.zeros((1, -(-len(ids) // 32) * 32), dtype=np.int64)
        phones[0, : len(ids)] = ids
        start = np.array([[50 * (n % 3)]], dtype=np.int64)
        feeds.append(
            {"phones": phones, "piece_start": start, "rate": np.array([[(1.0, 0.8, 1.25)[n % 3]]], np.float32)}
        )
    return feeds


def _torch_reference(model: TtsNetwork) -> Any:
    @torch.no_grad()
    def run_torch(feed: Feeds) -> list[np.ndarray]:
        return [out.numpy() for out in model(*(torch.from_numpy(feed[name]) for name in _INPUTS))]

    return run_torch


def export(run_path: Path, *, precision: str = "fp16", data: Path | None = None) -> Manifest:
    """Write ``RUN/bundle``.

    Raises:
        ParleyError: no checkpoint, no corpus, or torch and ONNX disagree.
    """
    run = Run.open(run_path)
    model = trained(run)
    corpus = load(data or Path(run.params.get("data", run.path / "corpus")))
    with staged(run.bundle_path) as staging:
        manifest = _export_into(staging, run, model, corpus, precision)
    run.figures(export={"parity": manifest.parity, "bytes": _size(run)})
    return manifest


def _export_into(staging: Path, run: Run, model: TtsNetwork, corpus: Corpus, precision: str) -> Manifest:
    graph = staging / "model.onnx"
    feeds = real_inputs(corpus, 12)
    example = tuple(torch.from_numpy(np.repeat(feeds[0][name], 2, axis=0)) for name in _INPUTS)
    axes: dict[str, dict[int, str]] = {name: {0: "batch"} for name in (*_INPUTS, *_OUTPUTS)}
    axes["phones"][1] = axes["durations"][1] = "phones"
    if precision.startswith("fp16"):
        _round_to_half(model)
    to_onnx(model, example, _INPUTS, _OUTPUTS, graph, axes)
    if precision.startswith("fp16"):
        store_weights(graph, 16)
    else:
        convert(graph, precision, matching_nodes(graph, INT8_KEEPS if precision.startswith("int8") else ()))
    parity = {**check_parity(_torch_reference(model), graph, feeds, _TOLERANCE[precision]), "precision": precision}
    corpus.lexicon.save(staging / "lexicon.json")
    rows = tuple(Utterance(hashlib.sha256(u.pcm.tobytes()).hexdigest(), u.id, u.split) for u in corpus.utterances)
    learned = Utterances(corpus.digest, run.params["bot"], corpus.licence, rows)
    list_utterances(staging, learned, run.params["dataset_digest"], "the corpus of the voice")
    return write_bundle(staging, _manifest(run, model, corpus, parity))


def _size(run: Run) -> int:
    return (run.bundle_path / "model.onnx").stat().st_size


def _round_to_half(model: TtsNetwork) -> None:
    """Give torch the weights that the file will hold, so that parity compares the same numbers."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.numel() >= SMALLEST and tensor.dtype == torch.float32:
            tensor.data = tensor.data.half().float()


def _manifest(run: Run, model: TtsNetwork, corpus: Corpus, parity: dict[str, Any]) -> Manifest:
    config = model.config
    bot = run.params["bot"]
    return Manifest(
        family="tts",
        bot=bot,
        model=f"{bot}_tts",
        implementation=IMPLEMENTATION,
        sample_rate=SAMPLE_RATE,
        inputs=[
            TensorSpec(name="phones", dtype="INT64", dims=[-1]),
            TensorSpec(name="piece_start", dtype="INT64", dims=[1]),
            TensorSpec(name="rate", dtype="FP32", dims=[1]),
        ],
        outputs=[
            TensorSpec(name="pcm", dtype="INT16", dims=[config.piece_frames * config.hop]),
            TensorSpec(name="durations", dtype="INT64", dims=[-1]),
            TensorSpec(name="frames", dtype="INT64", dims=[1]),
        ],
        max_batch_size=MAX_BATCH,
        preferred_batch_sizes=[4, 8],
        warmup={"phones": [32], "piece_start": [1], "rate": [1]},
        constants={
            "hop": config.hop,
            "piece_frames": config.piece_frames,
            "symbols": list(corpus.lexicon.symbols),
            **({"language": corpus.language} if corpus.language else {}),
            "network": config.to_dict(),
        },  # fmt: skip
        lineage=Lineage(
            **git_lineage(),
            dataset_digest=corpus.digest,
            bot_digest=run.params.get("bot_digest", ""),
            params={k: v for k, v in run.params.items() if k not in ("seed", "data")},
            seed=run.params["seed"],
            environment=environment(),
        ),  # fmt: skip
        parity=parity,
        data_licence=corpus.licence,
        requires=_REQUIRES,
    )


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(description="Export a trained voice.")
    parser.add_argument("run", type=Path, help="run directory of the training")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp16", help="how numbers are kept: docs/quality.md")
    parser.add_argument("--data", type=Path, help="the corpus, when it is not where the run says")
    parser.add_argument("--tensorrt", action="store_true", help="also build model.plan (needs an NVIDIA GPU)")
    options = parser.parse_args(argv)
    manifest = export(options.run, precision=options.precision, data=options.data)
    if options.tensorrt:
        _plan(options.run / "bundle", manifest)
    worst = manifest.parity["max_abs_error"]
    print(f"{options.run / 'bundle'}: {manifest.model}, parity {worst}, digest {sha256_json(manifest.files)[:12]}")
    return 0


def _plan(bundle: Path, manifest: Manifest) -> None:
    shapes: dict[str, tuple[Sequence[int], Sequence[int], Sequence[int]]] = {
        "phones": ((1, 32), (4, 96), (MAX_BATCH, 384)),
        "piece_start": ((1, 1), (4, 1), (MAX_BATCH, 1)),
        "rate": ((1, 1), (4, 1), (MAX_BATCH, 1)),
    }
    tensorrt(bundle / "model.onnx", shapes, fp16=False)
    write_bundle(bundle, manifest)


if __name__ == "__main__":
    exit_with(main)
