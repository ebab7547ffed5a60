"""Train the NLU network on a corpus: `python -m models.nlu.fit --corpus DIR/snips --out runs/nlu-snips-1 --seed 1`.

From scratch: nothing but training splits is learnt from, the corpus's own and, with ``--texts``, the bare words of
others. The weights kept are the moving average at the end of the schedule; figures are those of the validation split.
The test split is not read into any figure here: `benchmarks.quality.nlu` does that, once the configuration is chosen.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.fitting import Averaged, add_knobs, batches_by_length, check_same_run, knobs_of
from models.nlu.augment import ValueSwapper, WordDropper
from models.nlu.cooccurrence import word_vectors
from models.nlu.corpora import Corpus, Sentence, read_corpus
from models.nlu.decode import TagDecoder, allowed
from models.nlu.encoder import Encoder
from models.nlu.judge import Answer, figures
from models.nlu.lexicon import LEXICON, Lexicon
from models.nlu.linear import LINEAR, LinearIntents, learn_once
from models.nlu.losses import Batch, disagreement, label_loss, mixed_loss, taught_loss, teach
from models.nlu.network import NluConfig, NluNetwork
from models.nlu.out_of_scope import PLAIN, best_intent
from models.nlu.words import WORDS, WordTable
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
from parley.progress import progress
from parley.runs import Run

_AVERAGE_EVERY = 4
"""Steps from one update of the moving average to the next: a pass over all weights."""


@dataclass(frozen=True)
class FitParams:
    """The knobs of a run on a corpus."""

    epochs: int = 14
    batch: int = 32
    lr: float = 2e-3
    weight_decay: float = 0.02
    dropout: float = 0.3
    width: int = 192
    recurrent: int = 1
    convolutions: int = 1
    layers: int = 1
    grams: int = 8192
    feedback: bool = True
    transitions: bool = True
    least: int = 2
    """A word said less often has no number of its own."""
    word_drop: float = 0.5
    blank: float = 0.0
    """Share of the words made unknown in training that lose their n-grams too."""
    swap: float = 0.3
    """Share of slot values replaced by others of the slot."""
    mix_open: float = 0.0
    smoothing: float = 0.1
    tag_weight: float = 0.5
    average: float = 0.998
    """Decay of the moving average of the weights, a step."""
    consistency: float = 0.0
    """Weight of R-Drop (Liang et al. 2021): two passes, two dropouts, one answer."""
    teaching: float = 0.0
    """Weight of the teachers' answers against the labels; their runs are given beside the knobs."""
    sentence_dropout: bool = False
    """Whether dropout takes the same columns from every word of a sentence."""
    lexicon: bool = False
    """Whether words are marked that stand in values other training sentences gave a slot; `models.nlu.lexicon`."""
    linear: int = 0
    """Buckets of a linear model of n-grams that has its say in the intents beside the network; `models.nlu.linear`."""
    mixup: float = 0.0
    """Share of batches whose sentences are mixed in pairs, for intents alone (Zhang et al. 2018; Guo et al. 2019)."""


def _start_words(whole: Averaged[NluNetwork], vectors: NDArray[np.float32]) -> None:
    """Start the word embedding from vectors [words, width], scaled to what random ones would be."""
    for network in (whole.network, whole.averaged):
        with torch.no_grad():
            network.pieces.weight[2:] = torch.from_numpy(vectors / vectors.std() * 0.1)


class Lesson:
    """The loss of a batch, by a run's knobs."""

    def __init__(self, params: FitParams, teachers: Sequence[NluNetwork]) -> None:
        self.params, self.teachers = params, teachers

    def loss(self, network: NluNetwork, batch: Batch, clean: Batch, rng: np.random.Generator) -> Tensor:
        """Of a batch with words dropped; teachers read it ``clean``."""
        params = self.params
        if params.mixup and rng.random() < params.mixup:
            return mixed_loss(network, batch, params.smoothing, rng)
        targets = teach(self.teachers, clean) if self.teachers else None
        if params.consistency:
            batch = batch.twice()
        scores = network(*batch.inputs)
        loss = label_loss(network, scores, batch, params.smoothing, params.tag_weight)
        if params.consistency:
            loss = loss + params.consistency * disagreement(scores, batch.mask)
        if targets is None:
            return loss
        taught = taught_loss(network, scores, batch, targets, params.tag_weight)
        return params.teaching * taught + (1 - params.teaching) * loss


def fit(
    folder: Path, out: Path, seed: int, params: FitParams, teachers: Sequence[Path] = (), texts: Sequence[Path] = ()
) -> Run:
    """Train on a corpus, or continue where the run in ``out`` was stopped.

    Args:
        folder: the corpus.
        out: the run directory.
        seed: of the weights, the order of rows and what is drawn.
        params: the knobs.
        teachers: finished runs on the same corpus with the same words, whose mean answer is learnt from.
        texts: other corpora; the words of their training splits, without labels, start the word embedding.

    Raises:
        ParleyError: ``out`` holds a run with other parameters, or a teacher reads other words.
    """
    corpus = read_corpus(folder)
    seed_everything(seed)
    asked = {**asdict(params), "corpus": corpus.name, "corpus_digest": corpus.digest,
             "teachers": [path.name for path in teachers], "texts": [path.name for path in texts]}  # fmt: skip
    if (out / "params.json").exists():
        check_same_run(out, {**asked, "seed": seed})
    run = Run.create(out, "nlu-corpus", corpus.name, asked, seed)
    said = [row.words for row in corpus.train]
    # Not the corpus itself, counted twice: a word said once would be known, and nothing in training as new as in use.
    more = [row.words for path in texts if path.resolve() != folder.resolve() for row in read_corpus(path).train]
    table = WordTable.learn([*said, *more], params.grams, params.least)
    table.write(out / WORDS)
    lexicon = Lexicon.learn(corpus.train) if params.lexicon and corpus.has_slots else None
    if lexicon:
        lexicon.write(out / LEXICON)
    linear = learn_once(out, corpus, params.linear) if params.linear else None
    encoder = Encoder(table, corpus.intents, corpus.tags, lexicon, linear)
    config = _config(encoder, params)
    whole = Averaged(NluNetwork(config), NluNetwork(config))
    if texts:
        _start_words(whole, word_vectors([*said, *more], table.words, params.width))
    run.write_json("config.json", asdict(whole.network.config))
    run.write_json("labels.json", {"intents": encoder.intents, "tags": encoder.tags})
    run.figures(parameters=parameter_count(whole.network) + (linear.parameters if linear else 0))
    lesson = Lesson(params, _teachers(teachers, encoder))
    _epochs(run, whole, encoder, corpus, seed, lesson)
    answers = PLAIN.apply(answer(whole.averaged, encoder, corpus.valid))
    run.figures(valid=figures(corpus.valid, answers))
    save_checkpoint(out / "best", whole.averaged, None, {"epochs": params.epochs})
    run.finish()
    return run


def _teachers(paths: Sequence[Path], encoder: Encoder) -> list[NluNetwork]:
    found = []
    for path in paths:
        _, other, network = open_fit(path)
        if (other.table.words, other.table.buckets) != (encoder.table.words, encoder.table.buckets):
            raise ParleyError(
                "a teacher reads other words", where=str(path), mend="train it on this corpus, same words"
            )
        found.append(network)
    return found


def _config(encoder: Encoder, params: FitParams) -> NluConfig:
    return NluConfig(
        encoder.table.size, len(encoder.intents), len(encoder.tags), params.width, params.layers, 4, 64,
        params.dropout, params.grams, params.recurrent, params.convolutions, 5,
        params.feedback and len(encoder.tags) > 1, params.transitions and len(encoder.tags) > 1,
        params.sentence_dropout, encoder.lexicon.width if encoder.lexicon else 0,
    )  # fmt: skip


def _epochs(run: Run, whole: Averaged[NluNetwork], encoder: Encoder, corpus: Corpus, seed: int, lesson: Lesson) -> None:
    params = lesson.params
    optimizer = torch.optim.AdamW(
        whole.network.parameters(), lr=params.lr, weight_decay=params.weight_decay, fused=True
    )
    epoch = 0
    if run.checkpoint_path.exists():
        epoch = load_checkpoint(run.checkpoint_path, whole, optimizer)["epoch"]
    swapper = ValueSwapper(corpus.train, params.mix_open)
    numbers = [encoder.table.ids(row.words) for row in corpus.train]
    dropper = WordDropper(numbers, encoder.table.size, params.word_drop, params.blank)
    with progress(run.path.name, params.epochs) as bar:
        bar.advance(epoch)
        while epoch < params.epochs:
            # What an epoch draws depends on seed and epoch alone: a resumed run sees what it would have seen.
            rng = random.Random(f"{seed}/{epoch}")
            rows = [swapper.swap(row, rng, params.swap) for row in corpus.train]
            batches = batches_by_length(rows, params.batch, rng, lambda row: len(row.words))
            loss = _epoch(whole, optimizer, encoder, batches, dropper, epoch, lesson)
            epoch += 1
            bar.advance()
            save_checkpoint(run.checkpoint_path, whole, optimizer, {"epoch": epoch})
            if epoch % 2 == 0:
                found = figures(corpus.valid, PLAIN.apply(answer(whole.averaged, encoder, corpus.valid)), draws=1)
                found["valid_loss"] = valid_loss(whole.averaged, encoder, corpus.valid)
                run.log(epoch, train_loss=round(loss, 4), **{k: v for k, v in found.items() if isinstance(v, float)})


def _dropped(clean: Batch, dropper: WordDropper, rng: np.random.Generator) -> Batch:
    ids, grams = dropper.drop(clean.ids.numpy(), clean.grams.numpy(), rng)
    return replace(clean, ids=torch.from_numpy(ids), grams=torch.from_numpy(grams))


def _epoch(
    whole: Averaged[NluNetwork], optimizer: torch.optim.Optimizer, encoder: Encoder, batches: list[list[Sentence]],
    dropper: WordDropper, epoch: int, lesson: Lesson,
) -> float:  # fmt: skip
    rng, params = np.random.default_rng([epoch, len(batches)]), lesson.params
    network, total, steps = whole.network.train(), 0.0, params.epochs * len(batches)
    for i, rows in enumerate(batches):
        step = epoch * len(batches) + i
        for group in optimizer.param_groups:
            group["lr"] = params.lr * warm_up_then_cosine(step, steps, 0.05)
        clean = encoder.batch(rows, training=True)
        loss = lesson.loss(network, _dropped(clean, dropper, rng), clean, rng)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        if step % _AVERAGE_EVERY == 0:
            whole.update(min(params.average, (1 + step) / (10 + step)) ** _AVERAGE_EVERY)
        total += loss.item()
    return total / len(batches)


@torch.no_grad()
def valid_loss(network: NluNetwork, encoder: Encoder, rows: Sequence[Sentence]) -> float:
    """Negative log-likelihood of intent and tags, a sentence: tells configurations apart that figures do not."""
    total = 0.0
    for start in range(0, len(rows), 64):
        batch = encoder.batch(rows[start : start + 64])
        loss = label_loss(network, network(*batch.inputs), batch, 0.0, 1.0)
        total += float(loss) * len(batch.ids)
    return round(total / len(rows), 5)


@torch.no_grad()
def scores(network: NluNetwork, encoder: Encoder, rows: Sequence[Sentence]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """For each row: intent logits [intents], the linear model's say in them, and tag scores [words, tags]."""
    network.eval()
    found: list[Any] = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].words))
    for start in range(0, len(rows), 64):
        places = order[start : start + 64]
        batch = encoder.batch([rows[i] for i in places])
        intents, tags = network(*batch.inputs)
        for at, i in enumerate(places):
            own = intents[at].numpy()
            own = encoder.linear.add(own, rows[i].words) if encoder.linear else own
            found[i] = own, tags[at, : len(rows[i].words)].numpy()
    return found


def chain_scores(network: NluNetwork, tags: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """What the decoder needs: learnt start and pair scores (zeros without a chain) plus what BIO forbids."""
    start, pairs = allowed(tags)
    if network.config.transitions:
        start = start + network.chain.start.detach().numpy()
        pairs = pairs + network.chain.pairs.detach().numpy()
    return start, pairs


def answer(network: NluNetwork, encoder: Encoder, rows: Sequence[Sentence]) -> list[Answer]:
    """The most probable intent and tag sequence of each row; the intent is the best in scope."""
    decoder = TagDecoder(*chain_scores(network, encoder.tags))
    answers = []
    for intents, tags in scores(network, encoder, rows):
        path = decoder.best(tags)
        intent, in_scope = best_intent(intents, encoder.intents)
        answers.append(Answer(intent, tuple(encoder.tags[i] for i in path), in_scope))
    return answers


def open_fit(path: Path) -> tuple[Run, Encoder, NluNetwork]:
    """A finished run on a corpus: its encoder and averaged weights.

    Raises:
        ParleyError: no such run, or it is not finished.
    """
    run = Run.open(path)
    if run.params.get("family") != "nlu-corpus" or not (path / "best" / "model.safetensors").is_file():
        raise ParleyError("not a finished run on a corpus", where=str(path), mend="run models.nlu.fit to its end")
    labels = json.loads((path / "labels.json").read_text(encoding="utf-8"))
    config = NluConfig(**json.loads((path / "config.json").read_text(encoding="utf-8")))
    lexicon = Lexicon.read(path / LEXICON) if config.marks else None
    linear = LinearIntents.read(path / LINEAR) if run.params.get("linear") else None
    encoder = Encoder(WordTable.read(path / WORDS), labels["intents"], labels["tags"], lexicon, linear)
    network = NluNetwork(config)
    load_checkpoint(path / "best", network)
    return run, encoder, network.eval()


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, type=Path, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--out", required=True, type=Path, help="run directory; a stopped run there is continued")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--teachers", nargs="*", type=Path, default=[], help="finished runs to learn from as well")
    parser.add_argument("--texts", nargs="*", type=Path, default=[], help="corpora whose words are read, not labels")
    add_knobs(parser, FitParams)
    args = vars(parser.parse_args(argv))
    params = knobs_of(args, FitParams)
    fit(args["corpus"], args["out"], args["seed"], params, args["teachers"], args["texts"])
    return 0


if __name__ == "__main__":
    exit_with(main)
