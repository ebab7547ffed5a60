"""Train the NLU network on a corpus: `python -m models.nlu.fit --corpus DIR/snips --out runs/nlu-snips-1 --seed 1`.

From scratch: nothing but training splits is learnt from, the corpus's own and, with ``--texts``, the bare words of
others. The weights kept are the moving average at the end of the schedule; figures are those of the validation split.
The test split is not read into any figure here: `benchmarks.quality.nlu` does that, once the configuration is chosen.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from models import loop
from models.checkpoints import load_checkpoint
from models.configuration import Configuration, add_options, knob, options_of, said
from models.epochs import Epochs, batches_by_length
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
from models.run_directory import Beginning, read_run_json
from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.errors import ParleyError
from parley.runs import Run

_AVERAGE_EVERY = 4
"""Steps from one update of the moving average to the next: a pass over all weights."""


@dataclass(frozen=True)
class FitConfig(Configuration):
    """Every parameter of a training on a corpus."""

    corpus: Path = field(metadata=said("folder with train.jsonl and test.jsonl"))
    seed: int = knob(1, "of the weights, the order of rows and what is drawn")
    teachers: tuple[Path, ...] = knob((), "finished runs on the corpus, of the same words, to learn from as well")
    texts: tuple[Path, ...] = knob((), "corpora whose words, without labels, start the word embedding")
    epochs: int = knob(14, "passes over the training split", least=1)
    batch: int = knob(32, "sentences in a batch", least=1)
    lr: float = knob(2e-3, "the peak of the learning rate", least=0)
    weight_decay: float = knob(0.02, "of AdamW", least=0)
    dropout: float = knob(0.3, "share of the numbers dropped", least=0, most=1)
    width: int = knob(192, "of the words' vectors", least=1)
    recurrent: int = knob(1, "recurrent layers", least=0)
    convolutions: int = knob(1, "convolutions", least=0)
    layers: int = knob(1, "layers of attention", least=0)
    grams: int = knob(8192, "buckets of letter n-grams", least=0)
    feedback: bool = knob(True, "whether the tags see the intent")
    transitions: bool = knob(True, "whether a chain joins the tags")
    least: int = knob(2, "a word said less often has no number of its own", least=1)
    word_drop: float = knob(0.5, "share of the words made unknown", least=0, most=1)
    blank: float = knob(0.0, "share of the words made unknown that lose their n-grams too", least=0, most=1)
    swap: float = knob(0.3, "share of slot values replaced by others of the slot", least=0, most=1)
    mix_open: float = knob(0.0, "share of swapped values that are mixed of two", least=0, most=1)
    smoothing: float = knob(0.1, "of the labels", least=0, most=1)
    tag_weight: float = knob(0.5, "of the tags' loss beside the intent's", least=0, most=1)
    average: float = knob(0.998, "decay of the moving average of the weights, a step", least=0, most=1)
    consistency: float = knob(0.0, "weight of R-Drop (Liang et al. 2021): two dropouts, one answer", least=0)
    teaching: float = knob(0.0, "weight of the teachers' answers against the labels", least=0, most=1)
    sentence_dropout: bool = knob(False, "whether dropout takes the same columns from every word of a sentence")
    lexicon: bool = knob(False, "whether words are marked that stand in values of slots: models.nlu.lexicon")
    linear: int = knob(0, "buckets of a linear model of n-grams beside the network: models.nlu.linear", least=0)
    mixup: float = knob(0.0, "share of batches mixed in pairs, for intents (Zhang et al. 2018)", least=0, most=1)


def _start_words(network: NluNetwork, vectors: NDArray[np.float32]) -> None:
    """Start the word embedding from vectors [words, width], scaled to what random ones would be."""
    with torch.no_grad():
        network.pieces.weight[2:] = torch.from_numpy(vectors / vectors.std() * 0.1)


class Lesson:
    """The loss of a batch, by a run's knobs."""

    def __init__(self, config: FitConfig, teachers: Sequence[NluNetwork]) -> None:
        self.config, self.teachers = config, teachers

    def loss(self, network: NluNetwork, batch: Batch, clean: Batch, rng: np.random.Generator) -> Tensor:
        """Of a batch with words dropped; teachers read it ``clean``."""
        config = self.config
        if config.mixup and rng.random() < config.mixup:
            return mixed_loss(network, batch, config.smoothing, rng)
        targets = teach(self.teachers, clean) if self.teachers else None
        if config.consistency:
            batch = batch.twice()
        scores = network(*batch.inputs)
        loss = label_loss(network, scores, batch, config.smoothing, config.tag_weight)
        if config.consistency:
            loss = loss + config.consistency * disagreement(scores, batch.mask)
        if targets is None:
            return loss
        taught = taught_loss(network, scores, batch, targets, config.tag_weight)
        return config.teaching * taught + (1 - config.teaching) * loss


def fit(config: FitConfig, out: Path, *, resume: bool = False) -> Run:
    """Train on a corpus; the averaged weights of the end land in ``out/best``.

    Args:
        config: every parameter.
        out: the run directory.
        resume: go on with the run in ``out``, where there is one.

    Raises:
        ParleyError: no such corpus, ``resume`` of a run that was started with other parameters, or a teacher reads
            other words.
    """
    corpus = read_corpus(config.corpus)
    texts = [read_corpus(path) for path in config.texts]
    loop.seed_everything(config.seed)
    beginning = Beginning("nlu-corpus", corpus.name, config, config.seed)
    run = beginning.run(
        out, resume=resume, corpus_digest=corpus.digest, texts_digest=[text.digest for text in texts]
    )  # fmt: skip
    said = [row.words for row in corpus.train]
    # Not the corpus itself, counted twice: a word said once would be known, and nothing in training as new as in use.
    others = [row.words for text in texts if text.digest != corpus.digest for row in text.train]
    table = WordTable.learn([*said, *others], config.grams, config.least)
    table.write(out / WORDS)
    lexicon = Lexicon.learn(corpus.train) if config.lexicon and corpus.has_slots else None
    if lexicon:
        lexicon.write(out / LEXICON)
    linear = learn_once(out, corpus, config.linear, resume=resume) if config.linear else None
    encoder = Encoder(table, corpus.intents, corpus.tags, lexicon, linear)
    network = NluNetwork(_shape(encoder, config))
    if texts:
        _start_words(network, word_vectors([*said, *others], table.words, config.width))
    run.write_json("config.json", asdict(network.config))
    run.write_json("labels.json", {"intents": encoder.intents, "tags": encoder.tags})
    run.figures(parameters=loop.parameter_count(network) + (linear.parameters if linear else 0))
    recipe = Recipe(Lesson(config, _teachers(config.teachers, encoder)), network, encoder, corpus)
    plan = loop.Plan(
        recipe.steps, 2 * recipe.epochs.steps, clip=2.0, save_every=recipe.epochs.steps, keep="last",
        average=loop.Averaging(config.average, every=_AVERAGE_EVERY, warm=True),
    )  # fmt: skip
    loop.fit(recipe, run, plan, resume=resume)
    load_checkpoint(out / "best", network)
    run.figures(valid=figures(corpus.valid, PLAIN.apply(answer(network, encoder, corpus.valid))))
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


def _shape(encoder: Encoder, config: FitConfig) -> NluConfig:
    return NluConfig(
        encoder.table.size, len(encoder.intents), len(encoder.tags), config.width, config.layers, 4, 64,
        config.dropout, config.grams, config.recurrent, config.convolutions, 5,
        config.feedback and len(encoder.tags) > 1, config.transitions and len(encoder.tags) > 1,
        config.sentence_dropout, encoder.lexicon.width if encoder.lexicon else 0,
    )  # fmt: skip


Pair = tuple[Batch, Batch]
"""A batch with words dropped, and the same one as it was said."""


class Recipe:
    """What the training loop is given; see :class:`models.loop.Recipe`."""

    def __init__(self, lesson: Lesson, network: NluNetwork, encoder: Encoder, corpus: Corpus) -> None:
        self.network, self._lesson, self._config = network, lesson, lesson.config
        self._encoder, self._corpus = encoder, corpus
        numbers = [encoder.table.ids(row.words) for row in corpus.train]
        self._swapper = ValueSwapper(corpus.train, self._config.mix_open)
        self._dropper = WordDropper(numbers, encoder.table.size, self._config.word_drop, self._config.blank)
        self._rng = np.random.default_rng(0)
        self.epochs = Epochs(self._draw)
        self.steps = self.epochs.steps * self._config.epochs

    def _draw(self, epoch: int) -> list[list[Sentence]]:
        rng = random.Random(f"{self._config.seed}/{epoch}")
        rows = [self._swapper.swap(row, rng, self._config.swap) for row in self._corpus.train]
        batches = batches_by_length(rows, self._config.batch, rng, lambda row: len(row.words))
        self._rng = np.random.default_rng([epoch, len(batches)])
        return batches

    def optimizer(self) -> torch.optim.Optimizer:
        decay = self._config.weight_decay
        return torch.optim.AdamW(self.network.parameters(), lr=self._config.lr, weight_decay=decay, fused=True)

    def schedule(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return loop.warm_up_then_cosine(optimizer, self.steps, 0.05)

    def prepare(self, step: int) -> bool:
        self.network.train()
        return False

    def batch(self, step: int) -> Pair:
        clean = self._encoder.batch(self.epochs.batch(step), training=True)
        ids, grams = self._dropper.drop(clean.ids.numpy(), clean.grams.numpy(), self._rng)
        return replace(clean, ids=torch.from_numpy(ids), grams=torch.from_numpy(grams)), clean

    def loss(self, batch: Pair) -> loop.Loss:
        return loop.Loss(self._lesson.loss(self.network, *batch, self._rng))

    def look(self, step: int, averaged: NluNetwork) -> loop.Look:
        rows, encoder = self._corpus.valid, self._encoder
        found = figures(rows, PLAIN.apply(answer(averaged, encoder, rows)), draws=1)
        found["valid_loss"] = valid_loss(averaged, encoder, rows)
        return loop.Look({name: value for name, value in found.items() if isinstance(value, float)})


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
    labels, config = read_run_json(run, "labels.json"), NluConfig(**read_run_json(run, "config.json"))
    lexicon = Lexicon.read(path / LEXICON) if config.marks else None
    linear = LinearIntents.read(path / LINEAR) if run.params.get("linear") else None
    encoder = Encoder(WordTable.read(path / WORDS), labels["intents"], labels["tags"], lexicon, linear)
    network = NluNetwork(config)
    load_checkpoint(path / "best", network)
    return run, encoder, network.eval()


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
