"""Train the NLG network on a corpus: `python -m models.nlg.fit --corpus devel.csv --out runs/nlg-e2e-1 --seed 1`.

From scratch and from that one file: references are delexicalised (`models.nlg.delexicalise`), a fifth of the groups of
meanings is kept for validation (``--fold all`` trains on everything, as long as validation chose). The weights kept are
the moving average at the end of the schedule. With ``--taught FILE`` the network learns from the rows that
`models.nlg.teach` wrote instead: sequence-level distillation (Kim and Rush 2016).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler

from models import loop
from models.checkpoints import load_checkpoint
from models.configuration import Configuration, add_options, knob, options_of, said
from models.epochs import Epochs, batches_by_length
from models.nlg.check import says_exactly
from models.nlg.client import TOKENIZER
from models.nlg.corpora import Reference, digest, read_references, split
from models.nlg.data import SPECIAL
from models.nlg.network import NlgConfig, NlgNetwork
from models.nlg.prompts import STYLES, WIDTH, encode_meaning, encode_reply, make_corpus_tokenizer
from models.nlg.realisations import Patterns
from models.nlg.rows import Row, read_rows, rows_of, swapped
from models.run_directory import Beginning, read_run_json
from models.tokenizer import read_tokenizer
from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_atomic
from parley.runs import Run

UNKNOWN = SPECIAL.index("[UNK]")
SPLIT_SEED = 7


@dataclass(frozen=True)
class FitConfig(Configuration):
    """Every parameter of a training on a corpus."""

    corpus: Path = field(metadata=said("CSV with columns mr and ref"))
    seed: int = knob(1, "of the weights and the batches; the split has a seed of its own")
    fold: Literal["valid", "all"] = knob("valid", "valid keeps validation apart, all trains on it too")
    taught: Path | None = knob(None, "rows of models.nlg.teach to learn from in the place of the references")
    epochs: int = knob(20, "passes over the rows", least=1)
    batch: int = knob(48, "replies in a batch", least=1)
    lr: float = knob(3e-3, "the peak of the learning rate", least=0)
    weight_decay: float = knob(0.05, "of AdamW", least=0)
    dropout: float = knob(0.2, "share of the numbers dropped", least=0, most=1)
    width: int = knob(128, "of the tokens' vectors", least=1)
    layers: int = knob(2, "of attention", least=1)
    heads: int = knob(4, "of attention", least=1)
    buffer: int = knob(88, "tokens of prompt and reply together", least=1)
    least: int = knob(3, "a piece of text that comes less often is unknown, and never written", least=1)
    swap: float = knob(0.3, "share of the ratings, prices and areas swapped for another", least=0, most=1)
    word_drop: float = knob(0.1, "share of the reply's tokens hidden from the network", least=0, most=1)
    smoothing: float = knob(0.1, "of the labels", least=0, most=1)
    average: float = knob(0.99, "decay of the moving average of the weights, a step", least=0, most=1)


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


def fit(config: FitConfig, out: Path, *, resume: bool = False) -> Run:
    """Train on a corpus; the averaged weights of the end land in ``out/best``.

    Args:
        config: every parameter.
        out: the run directory.
        resume: go on with the run in ``out``, where there is one.

    Raises:
        ParleyError: no such corpus or rows, or ``resume`` of a run that was started with other parameters.
    """
    loop.seed_everything(config.seed)
    references = read_references(config.corpus)
    beginning = Beginning("nlg-corpus", "e2e", config, config.seed)
    run = beginning.run(out, resume=resume, corpus_digest=digest(references))
    train, valid = splits(references, config.fold)
    patterns = Patterns.of_e2e({pair for row in references for pair in row.meaning})
    rows = rows_of(train, patterns)
    if config.taught:  # those that were written under another check may not pass this one
        rows = [row for row in read_rows(config.taught) if says_exactly(row.text, row.meaning, patterns)]
    judged = rows_of(valid, patterns)
    values: dict[str, list[str]] = {slot: list(known) for slot, known in patterns.spec["slots"].items()}
    tokenizer = make_corpus_tokenizer(values, (row.text for row in rows), config.least)
    write_atomic(out / TOKENIZER, tokenizer.to_str())
    size = tokenizer.get_vocab_size()
    shape = NlgConfig(size, config.buffer, config.width, config.layers, config.heads, config.dropout)
    network = NlgNetwork(shape)
    run.write_json("config.json", asdict(shape))
    run.figures(parameters=loop.parameter_count(network), dataset_digest=digest(train), styles=STYLES,
                rows={"train": len(rows), "valid": len(judged)})  # fmt: skip
    recipe = Recipe(config, network, Encoder(tokenizer, config.buffer), rows, judged, patterns)
    plan = loop.Plan(
        recipe.steps, recipe.epochs.steps, clip=1.0, average=loop.Averaging(config.average, warm=True), keep="last"
    )  # fmt: skip
    loop.fit(recipe, run, plan, resume=resume)
    run.finish()
    return run


class Recipe:
    """What the training loop is given; see :class:`models.loop.Recipe`. A batch is what :class:`Encoder` gives."""

    def __init__(
        self, config: FitConfig, network: NlgNetwork, encoder: Encoder, rows: Sequence[Row],
        judged: Sequence[Row], patterns: Patterns,
    ) -> None:  # fmt: skip
        self.network, self._config, self._encoder = network, config, encoder
        self._rows, self._judged, self._patterns = rows, judged, patterns
        self.epochs = Epochs(self._draw)
        self.steps = self.epochs.steps * config.epochs

    def _draw(self, epoch: int) -> list[list[Row]]:
        rng = random.Random(f"{self._config.seed}/{epoch}")
        drawn = [swapped(row, self._patterns, rng, self._config.swap) for row in self._rows]
        return batches_by_length(drawn, self._config.batch, rng, lambda row: len(row.text))

    def optimizer(self) -> torch.optim.Optimizer:
        decay = self._config.weight_decay
        return torch.optim.AdamW(self.network.parameters(), lr=self._config.lr, weight_decay=decay)

    def schedule(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return loop.warm_up_then_cosine(optimizer, self.steps, 0.05)

    def prepare(self, step: int) -> bool:
        self.network.train()
        return False

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        return self._encoder.batch(self.epochs.batch(step))

    def loss(self, batch: tuple[Tensor, Tensor]) -> loop.Loss:
        ids, writes = batch
        hidden = writes & (torch.rand(ids.shape) < self._config.word_drop)
        read = ids.masked_fill(hidden, UNKNOWN)
        return loop.Loss(loss_of(self.network, ids, writes, read, self._config.smoothing))

    def look(self, step: int, averaged: NlgNetwork) -> loop.Look:
        return loop.Look({"valid_loss": valid_loss(averaged, self._encoder, self._judged)})


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
    network = NlgNetwork(NlgConfig(**read_run_json(run, "config.json")))
    load_checkpoint(path / "best", network)
    return run, read_tokenizer(path / TOKENIZER), network.eval()


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="run directory")
    add_options(parser, FitConfig)
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    args = parser.parse_args(argv)
    fit(options_of(args, FitConfig), args.out, resume=args.resume)
    return 0


if __name__ == "__main__":
    exit_with(main)
