"""Train the NLG network on a corpus: `python -m models.nlg.fit --corpus devel.csv --out runs/nlg-e2e-1 --seed 1`.

From scratch and from that one file: references are delexicalised (`models.nlg.delexicalise`), a fifth of the groups of
meanings is kept for validation (``--fold all`` trains on everything, as long as validation chose). The weights kept are
the moving average at the end of the schedule. With ``--taught FILE`` the network learns from the rows that
`models.nlg.teach` wrote instead: sequence-level distillation (Kim and Rush 2016).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from models.fitting import Averaged, add_knobs, batches_by_length, check_same_run, knobs_of
from models.nlg.check import says_exactly
from models.nlg.client import TOKENIZER
from models.nlg.corpora import Reference, digest, read_references, split
from models.nlg.data import SPECIAL
from models.nlg.network import NlgConfig, NlgNetwork
from models.nlg.prompts import STYLES, WIDTH, encode_meaning, encode_reply, make_corpus_tokenizer
from models.nlg.realisations import Patterns
from models.nlg.rows import Row, read_rows, rows_of, swapped
from models.tokenizer import read_tokenizer
from models.training import (
    load_checkpoint,
    parameter_count,
    save_checkpoint,
    seed_everything,
    warm_up_then_cosine,
)
from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_atomic
from parley.progress import progress
from parley.runs import Run

UNKNOWN = SPECIAL.index("[UNK]")
SPLIT_SEED = 7


@dataclass(frozen=True)
class FitParams:
    """The knobs of a run on a corpus."""

    epochs: int = 20
    batch: int = 48
    lr: float = 3e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    width: int = 128
    layers: int = 2
    heads: int = 4
    buffer: int = 88
    least: int = 3
    """A piece of text that comes less often is unknown, and never written."""
    swap: float = 0.3
    """Share of the values of a rating, price or area that are swapped for another, with their phrase."""
    word_drop: float = 0.1
    """Share of the reply's tokens hidden from the network."""
    smoothing: float = 0.1
    average: float = 0.99
    """Decay of the moving average of the weights, a step."""


class Encoder:
    """Rows to tensors."""

    def __init__(self, tokenizer: Tokenizer, buffer: int) -> None:
        self._tokenizer, self._vocab, self._buffer = tokenizer, tokenizer.get_vocab(), buffer

    def batch(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """Ids int64 [batch, tokens], and bool [batch, tokens] that is true where the network is to write.

        Unknown pieces are read but not to be written. Rows too long for the buffer are cut at its end.
        """
        ids, writes = [], []
        for row in rows:
            prompt = encode_meaning(self._vocab, row.meaning, row.style)
            if prompt is None:
                raise ParleyError("a meaning the network cannot be asked for", where=str(row.meaning)[:200],
                                  mend="give it at most two values a slot")  # fmt: skip
            both = [*prompt.tolist(), *encode_reply(self._tokenizer, row.text)][: self._buffer]
            ids.append(torch.tensor(both))
            writes.append(torch.tensor([i >= WIDTH and token != UNKNOWN for i, token in enumerate(both)]))
        pad = nn.utils.rnn.pad_sequence
        return pad(ids, batch_first=True), pad(writes, batch_first=True)


def loss_of(network: NlgNetwork, ids: Tensor, writes: Tensor, read: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the tokens to write, given the tokens ``read``."""
    wanted = torch.where(writes[:, 1:], ids[:, 1:], -100)
    return F.cross_entropy(network(read)[:, :-1].flatten(0, 1), wanted.flatten(), ignore_index=-100,
                           label_smoothing=smoothing)  # fmt: skip


def splits(rows: Sequence[Reference], fold: str) -> tuple[list[Reference], list[Reference]]:
    """Training and validation references; with ``fold`` "all" the training ones are all of them."""
    train, valid = split(rows, SPLIT_SEED)
    return (list(rows) if fold == "all" else train), valid


def fit(corpus: Path, out: Path, seed: int, params: FitParams, fold: str = "valid", taught: Path | None = None) -> Run:
    """Train on a corpus, or continue where the run in ``out`` was stopped.

    Args:
        corpus: the CSV.
        out: the run directory.
        seed: of the weights and the batches; the split has a seed of its own.
        params: the knobs.
        fold: "valid" keeps validation apart, "all" trains on it too.
        taught: rows to learn from in the place of the references.

    Raises:
        ParleyError: no such corpus, or the run in ``out`` was started otherwise.
    """
    seed_everything(seed)
    asked = {**asdict(params), "corpus": str(corpus), "fold": fold, "taught": str(taught or "")}
    if (out / "params.json").exists():
        check_same_run(out, asked)
    run = Run.create(out, "nlg-corpus", "e2e", asked, seed)
    references = read_references(corpus)
    train, valid = splits(references, fold)
    patterns = Patterns.of_e2e({pair for row in references for pair in row.meaning})
    rows = rows_of(train, patterns)
    if taught:  # those that were written under another check may not pass this one
        rows = [row for row in read_rows(taught) if says_exactly(row.text, row.meaning, patterns)]
    judged = rows_of(valid, patterns)
    values: dict[str, list[str]] = {slot: list(known) for slot, known in patterns.spec["slots"].items()}
    tokenizer = make_corpus_tokenizer(values, (row.text for row in rows), params.least)
    write_atomic(out / TOKENIZER, tokenizer.to_str())
    size = tokenizer.get_vocab_size()
    config = NlgConfig(size, params.buffer, params.width, params.layers, params.heads, params.dropout)
    whole = Averaged(NlgNetwork(config), NlgNetwork(config))
    run.write_json("config.json", asdict(config))
    run.figures(parameters=parameter_count(whole.network), dataset_digest=digest(train), styles=STYLES,
                rows={"train": len(rows), "valid": len(judged)})  # fmt: skip
    _epochs(run, whole, Encoder(tokenizer, params.buffer), rows, judged, patterns, seed, params)
    save_checkpoint(out / "best", whole.averaged, None, {"epochs": params.epochs})
    run.finish()
    return run


def _epochs(
    run: Run, whole: Averaged[NlgNetwork], encoder: Encoder, rows: list[Row], judged: list[Row], patterns: Patterns,
    seed: int, params: FitParams,
) -> None:  # fmt: skip
    optimizer = torch.optim.AdamW(whole.network.parameters(), lr=params.lr, weight_decay=params.weight_decay)
    epoch = 0
    if run.checkpoint_path.exists():
        epoch = load_checkpoint(run.checkpoint_path, whole, optimizer)["epoch"]
    with progress(run.path.name, params.epochs) as bar:
        bar.advance(epoch)
        while epoch < params.epochs:
            # What an epoch draws depends on seed and epoch alone: a resumed run sees what it would have seen.
            rng = random.Random(f"{seed}/{epoch}")
            drawn = [swapped(row, patterns, rng, params.swap) for row in rows]
            found = batches_by_length(drawn, params.batch, rng, lambda row: len(row.text))
            loss = _epoch(whole, optimizer, encoder, found, epoch, params)
            epoch += 1
            bar.advance()
            save_checkpoint(run.checkpoint_path, whole, optimizer, {"epoch": epoch})
            run.log(epoch, train_loss=round(loss, 4), valid_loss=valid_loss(whole.averaged, encoder, judged))


def _epoch(
    whole: Averaged[NlgNetwork], optimizer: torch.optim.Optimizer, encoder: Encoder, found: list[list[Row]], epoch: int,
    params: FitParams,
) -> float:  # fmt: skip
    network, total, steps = whole.network.train(), 0.0, params.epochs * len(found)
    for i, rows in enumerate(found):
        step = epoch * len(found) + i
        for group in optimizer.param_groups:
            group["lr"] = params.lr * warm_up_then_cosine(step, steps, 0.05)
        ids, writes = encoder.batch(rows)
        hidden = writes & (torch.rand(ids.shape) < params.word_drop)
        loss = loss_of(network, ids, writes, ids.masked_fill(hidden, UNKNOWN), params.smoothing)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        whole.update(min(params.average, (1 + step) / (10 + step)))
        total += loss.item()
    return total / len(found)


@torch.no_grad()
def valid_loss(network: NlgNetwork, encoder: Encoder, rows: Sequence[Row]) -> float:
    """Negative log-likelihood, a token."""
    network.eval()
    total = count = 0.0
    ordered = sorted(rows, key=lambda row: len(row.text))
    for start in range(0, len(ordered), 64):
        ids, writes = encoder.batch(ordered[start : start + 64])
        n = float(writes[:, 1:].sum())
        total, count = total + float(loss_of(network, ids, writes, ids)) * n, count + n
    return round(total / max(count, 1), 5)


def open_fit(path: Path) -> tuple[Run, Tokenizer, NlgNetwork]:
    """A finished run on a corpus: its tokenizer and averaged weights.

    Raises:
        ParleyError: no such run, or it is not finished.
    """
    run = Run.open(path)
    if run.params.get("family") != "nlg-corpus" or not (path / "best" / "model.safetensors").is_file():
        raise ParleyError("not a finished run on a corpus", where=str(path), mend="run models.nlg.fit to its end")
    network = NlgNetwork(NlgConfig(**json.loads((path / "config.json").read_text(encoding="utf-8"))))
    load_checkpoint(path / "best", network)
    return run, read_tokenizer(path / TOKENIZER), network.eval()


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, type=Path, help="CSV with columns mr and ref")
    parser.add_argument("--out", required=True, type=Path, help="run directory; a stopped run there is continued")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fold", choices=("valid", "all"), default="valid", help="all: train on validation too")
    parser.add_argument("--taught", type=Path, help="rows of models.nlg.teach to learn from")
    add_knobs(parser, FitParams)
    args = vars(parser.parse_args(argv))
    params = knobs_of(args, FitParams)
    fit(args["corpus"], args["out"], args["seed"], params, args["fold"], args["taught"])
    return 0


if __name__ == "__main__":
    exit_with(main)
