"""Export a run on a corpus: `python -m models.nlg.corpus_export RUN [--precision int8]`, into ``RUN/bundle``.

int8 goes to ``RUN/bundle-int8``, beside the fp32 one that it is measured against.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from models.exporting import staged
from models.nlg.client import TOKENIZER
from models.nlg.corpora import by_meaning, digest, read_references
from models.nlg.corpus_client import IMPLEMENTATION, SLOTS_FILE
from models.nlg.export import TOLERANCE, step_feeds, write_graph
from models.nlg.fit import open_fit, splits
from models.nlg.prompts import WIDTH, encode_meaning, encode_reply
from models.nlg.realisations import Patterns
from models.nlg.rows import rows_of
from models.run_directory import check_data, lineage_of
from parley.arguments import ArgumentParser
from parley.bundle import Manifest, TensorSpec, write_bundle
from parley.command import exit_with
from parley.files import write_json

_ROWS = 12
_PROMPTS = 64


def bundle_of(run: Path, precision: str) -> Path:
    """Where a run's export of a precision lies."""
    return run / ("bundle" if precision == "fp32" else f"bundle-{precision}")


def export_corpus(path: Path, precision: str = "fp32") -> Manifest:
    """Write a run's graph, tokenizer and slots.

    Args:
        path: the run; its corpus must still be where it was.
        precision: ``fp32`` or ``int8``.

    Raises:
        ParleyError: the run is not whole, or the exported graph does not agree with torch.
    """
    run, tokenizer, network = open_fit(path)
    references = splits(read_references(Path(run.params["corpus"])), run.params["fold"])[0]
    check_data(run, digest(references), run.params["corpus"])
    patterns = Patterns.of_e2e({pair for row in references for pair in row.meaning})
    vocab = tokenizer.get_vocab()
    meanings = [encode_meaning(vocab, meaning) for meaning in by_meaning(references)]
    ids = np.stack([prompt for prompt in meanings if prompt is not None])
    ids = ids[:: max(1, len(ids) // _PROMPTS)]
    rows = rows_of(references, patterns)
    rows = rows[:: max(1, len(rows) // _ROWS)][:_ROWS]
    pairs = []
    for row in rows:
        prompt = encode_meaning(vocab, row.meaning)
        assert prompt is not None  # rows_of leaves out what cannot be asked for
        pairs.append((prompt.tolist(), encode_reply(tokenizer, row.text)[: network.config.buffer - WIDTH]))
    with staged(bundle_of(path, precision)) as bundle:
        shutil.copyfile(path / TOKENIZER, bundle / TOKENIZER)
        write_json(bundle / SLOTS_FILE, patterns.spec)
        parity = write_graph(network, bundle / "model.onnx", ids, step_feeds(network, pairs), precision)
        figures, buffer = run.figures(), network.config.buffer
        manifest = Manifest(
            family="nlg", bot="e2e", model="e2e_nlg", implementation=IMPLEMENTATION,
            inputs=[TensorSpec(name="prompt_ids", dtype="INT64", dims=[WIDTH])],
            outputs=[TensorSpec(name="tokens", dtype="INT64", dims=[buffer]),
                     TensorSpec(name="logprob", dtype="FP32", dims=[1])],
            max_batch_size=16, preferred_batch_sizes=[4, 8], warmup={"prompt_ids": [WIDTH]},
            constants={"prompt_tokens": WIDTH, "buffer_tokens": buffer, "styles": figures["styles"],
                       "parameters": figures["parameters"], "language": "en"},
            lineage=lineage_of(run, figures["dataset_digest"]),
            parity=parity, data_licence="the corpus's own", provides={"text": "written"},
        )  # fmt: skip
        return write_bundle(bundle, manifest)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and export. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory of models.nlg.fit")
    parser.add_argument("--precision", choices=sorted(TOLERANCE), default="fp32")
    args = parser.parse_args(argv)
    manifest = export_corpus(args.run, args.precision)
    print(json.dumps({"bundle": str(bundle_of(args.run, args.precision)), "parity": manifest.parity}))
    return 0


if __name__ == "__main__":
    exit_with(main)
