"""Export a run on a corpus: `python -m models.nlu.corpus_export RUN [--precision int8]`, into ``RUN/bundle``.

fp16 and int8 go to ``RUN/bundle-fp16`` and ``RUN/bundle-int8``, beside the fp32 one that they are measured against.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.exporting import PRECISIONS, Feeds, check_parity, convert, staged, to_onnx
from models.nlu.corpora import Sentence
from models.nlu.corpus_client import CHAIN, IMPLEMENTATION, INPUTS, MARKS, OUTPUTS, feeds
from models.nlu.encoder import Encoder
from models.nlu.export import TOLERANCE
from models.nlu.fit import chain_scores, open_fit
from models.nlu.lexicon import LEXICON
from models.nlu.linear import LINEAR
from models.nlu.losses import Batch
from models.nlu.network import NluNetwork
from models.nlu.words import WORDS
from models.run_directory import lineage_of
from parley.arguments import ArgumentParser
from parley.bundle import DType, Manifest, TensorSpec, write_bundle
from parley.command import exit_with
from parley.files import write_json
from parley.runs import Run

_TYPES: dict[torch.dtype, DType] = {torch.int64: "INT64", torch.float32: "FP32"}


def bundle_of(run: Path, precision: str) -> Path:
    """Where a run's export of a precision lies."""
    return run / ("bundle" if precision == "fp32" else f"bundle-{precision}")


class IntentsOnly(nn.Module):
    """A network of a corpus without slots: its tags answer nothing, so they are neither computed nor compared."""

    def __init__(self, network: NluNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """Intent logits ``[batch, intents]``, as the network's."""
        return (self.network(*inputs)[0],)


def export_corpus(path: Path, rows: list[Sentence], precision: str = "fp32") -> dict[str, Any]:
    """Write a run's graph, words and chain; returns the parity figures.

    Args:
        path: the run.
        rows: real sentences that torch and the graph must agree on.
        precision: ``fp32``, ``fp16`` or ``int8``.

    Raises:
        ParleyError: the run is not whole, or the exported graph does not agree with torch.
    """
    run, encoder, trained = open_fit(path)
    slots = len(encoder.tags) > 1
    network, outputs = (trained, OUTPUTS) if slots else (IntentsOnly(trained).eval(), OUTPUTS[:1])
    with staged(bundle_of(path, precision)) as bundle:
        shutil.copyfile(path / WORDS, bundle / WORDS)
        if encoder.lexicon:
            encoder.lexicon.write(bundle / LEXICON)
        if encoder.linear:
            encoder.linear.write(bundle / LINEAR)
        start, pairs = chain_scores(trained, encoder.tags)
        write_json(bundle / CHAIN, {"intents": encoder.intents, "tags": encoder.tags,
                                    "start": start.tolist(), "pairs": pairs.tolist()})  # fmt: skip
        model = bundle / "model.onnx"
        batch = encoder.batch([rows[0]] * 2)
        names = _inputs(encoder)
        axes = {name: {0: "batch", 1: "words"} for name in (*names, *outputs)} | {"intent_logits": {0: "batch"}}
        to_onnx(network, batch.inputs, names, outputs, model, axes)
        convert(model, precision)
        parity = _parity(network, encoder, rows, model, precision)
        write_bundle(bundle, _manifest(run, encoder, batch, outputs, parity))
    run.figures(**{f"parity_{precision}": parity})
    return parity


def _inputs(encoder: Encoder) -> tuple[str, ...]:
    return (*INPUTS, MARKS) if encoder.lexicon else INPUTS


def _manifest(run: Run, encoder: Encoder, batch: Batch, outputs: Sequence[str], parity: dict[str, Any]) -> Manifest:
    corpus = run.params["bot"]
    dims = {"intent_logits": [len(encoder.intents)], "tag_logits": [-1, len(encoder.tags)]}
    return Manifest(
        family="nlu", bot=corpus, model=f"{corpus}_nlu", implementation=IMPLEMENTATION,
        inputs=[TensorSpec(name=name, dtype=_TYPES[tensor.dtype], dims=[-1, *tensor.shape[2:]])
                for name, tensor in zip(_inputs(encoder), batch.inputs, strict=True)],
        outputs=[TensorSpec(name=name, dtype="FP32", dims=dims[name]) for name in outputs],
        constants={"language": "en"}, lineage=lineage_of(run, run.params["corpus_digest"]), parity=parity,
        data_licence="the corpus's own",
    )  # fmt: skip


def _parity(network: nn.Module, encoder: Encoder, rows: list[Sentence], model: Path, precision: str) -> dict[str, Any]:
    mixed = encoder.batch(rows[:8])
    names = _inputs(encoder)
    batch = dict(zip(names, (t.numpy() for t in mixed.inputs), strict=True))

    def run_torch(feed: Feeds) -> list[Any]:
        with torch.no_grad():
            return [part.numpy() for part in network(*(torch.from_numpy(feed[name]) for name in names))]

    checked = [*(feeds(encoder.table, encoder.lexicon, row.words) for row in rows[:64]), batch]
    return check_parity(run_torch, model, checked, TOLERANCE[precision])


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and export. Returns the exit status."""
    from models.nlu.corpora import read_corpus

    parser = ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory of models.nlu.fit")
    parser.add_argument("--corpus", required=True, type=Path, help="the corpus it was trained on")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    args = parser.parse_args(argv)
    print(json.dumps(export_corpus(args.run, read_corpus(args.corpus).valid, args.precision)))
    return 0


if __name__ == "__main__":
    exit_with(main)
