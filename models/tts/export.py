"""From a training run to a bundle: the graph, the lexicon, the manifest.

    python -m models.tts.export runs/tts-barista [--precision fp32|fp16|int8|int8-weights] [--tensorrt]

``fp16`` (here the same as ``fp16-weights``) stores weights in half precision and computes in single: half the size, and
durations and pulse phases that do not depend on a server's rounding. ``int8`` quantises the vocoder's matrix products;
the encoder, which decides durations, stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models import exporting
from models.checkpoints import load_checkpoint
from models.exporting import PRECISIONS, Feeds, Reference, check_parity, convert, staged, to_onnx
from models.run_directory import check_data, finished_run, lineage_of, weights_to_begin_with
from models.tts.client import IMPLEMENTATION
from models.tts.data import Corpus, load
from models.tts.network import TtsNetwork
from models.tts.train import shape_of
from models.weights import SMALLEST, matching_nodes, store_weights
from parley.arguments import ArgumentParser
from parley.audio import TELEPHONE_RATE
from parley.bundle import Manifest, TensorSpec, read_manifest, write_bundle
from parley.command import exit_with
from parley.files import sha256_json
from parley.runs import Run
from parley.utterances import Utterance, Utterances, write_utterances

_TOLERANCE = {"fp32": 5e-3, "fp16": 5e-3, "fp16-weights": 5e-3, "int8": 0.25, "int8-weights": 0.25}
"""Largest difference of a sample, relative to the piece's peak. int8 changes filters, not durations or pulses."""
_REQUIRES = {"nlg.text": "written"}
"""It reads out figures, prices and signs as a person would (its language's reader), from text as one writes it."""
_INPUTS = ("phones", "piece_start", "rate")
_OUTPUTS = ("pcm", "durations", "frames")
MAX_BATCH = 16
_PLAN_SHAPES: dict[str, tuple[Sequence[int], Sequence[int], Sequence[int]]] = {
    "phones": ((1, 32), (4, 96), (MAX_BATCH, 384)),
    "piece_start": ((1, 1), (4, 1), (MAX_BATCH, 1)),
    "rate": ((1, 1), (4, 1), (MAX_BATCH, 1)),
}
"""Smallest, usual and largest of each input that a TensorRT plan is built for."""
INT8_KEEPS = ("/encoder/*", "/vocoder/enter/*", "/vocoder/leave/*")
"""Nodes that int8 leaves in single precision: the encoder's, which decide durations, and the vocoder's ends."""


def trained(run: Run) -> TtsNetwork:
    """The run's averaged weights, in eval mode.

    Raises:
        ParleyError: the run has none.
    """
    model = TtsNetwork(shape_of(finished_run(run.path, "tts").path))
    load_checkpoint(weights_to_begin_with(run.path), model)
    return model.eval()


def corpus_of(run: Run, data: Path | None = None) -> Corpus:
    """The corpus that the training saw.

    Args:
        run: the training.
        data: where it lies, when that is not where the run says.

    Raises:
        ParleyError: there is none, or it is another one by now.
    """
    folder = data or Path(run.params.get("data") or run.path / "corpus")
    corpus = load(folder)
    check_data(run, corpus.digest, str(folder))
    return corpus


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


def _torch_reference(model: TtsNetwork) -> Reference:
    @torch.no_grad()
    def run_torch(feed: Feeds) -> list[NDArray[Any]]:
        return [out.numpy() for out in model(*(torch.from_numpy(feed[name]) for name in _INPUTS))]

    return run_torch


def export(run: Run, precision: str = "fp16", *, tensorrt: bool = False, data: Path | None = None) -> Path:
    """Write the run's bundle and return its folder.

    Args:
        run: a finished training.
        precision: how numbers are kept, one of `models.exporting.PRECISIONS`.
        tensorrt: build ``model.plan`` as well.
        data: the corpus, when it is not where the run says.

    Raises:
        ParleyError: no weights, no corpus or another one, or torch and ONNX disagree.
    """
    model, corpus = trained(run), corpus_of(run, data)
    with staged(run.bundle_path) as staging:
        manifest = _export_into(staging, run, model, corpus, precision, tensorrt=tensorrt)
    size = (run.bundle_path / "model.onnx").stat().st_size
    run.figures(export={"parity": manifest.parity, "bytes": size})
    return run.bundle_path


def _export_into(
    staging: Path, run: Run, model: TtsNetwork, corpus: Corpus, precision: str, *, tensorrt: bool
) -> Manifest:
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
    write_utterances(staging, Utterances(corpus.digest, run.params["bot"], corpus.licence, rows))
    if tensorrt:
        exporting.tensorrt(graph, _PLAN_SHAPES, fp16=False)
    return write_bundle(staging, _manifest(run, model, corpus, parity))


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
        sample_rate=TELEPHONE_RATE,
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
        lineage=lineage_of(run, corpus.digest),
        parity=parity,
        data_licence=corpus.licence,
        requires=_REQUIRES,
    )


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and export. Returns the exit status."""
    parser = ArgumentParser(description="Export a trained voice.")
    parser.add_argument("run", type=Path, help="run directory of the training")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp16", help="how numbers are kept: docs/quality.md")
    parser.add_argument("--data", type=Path, help="the corpus, when it is not where the run says")
    parser.add_argument("--tensorrt", action="store_true", help="also build model.plan (needs an NVIDIA GPU)")
    options = parser.parse_args(argv)
    bundle = export(Run.open(options.run), options.precision, tensorrt=options.tensorrt, data=options.data)
    manifest = read_manifest(bundle)
    print(f"{bundle}: {manifest.model}, parity {manifest.parity['max_abs_error']}, "
          f"digest {sha256_json(manifest.files)[:12]}")  # fmt: skip
    return 0


if __name__ == "__main__":
    exit_with(main)
