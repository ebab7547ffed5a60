"""Write rows to teach one network with what several know: `python -m models.nlg.teach RUN… --corpus devel.csv --out F`.

Meanings are made as the corpus makes them: the slots of one of its training meanings, with values drawn anew. The runs
write many replies to each together; those that say exactly the meaning vote, and the likeliest by consensus are kept,
the best as style 0, the next as 1, and so on. The network that learns from them writes at once what they agreed on
(Kim and Rush 2016; Bertsch et al. 2023). Interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from models.nlg.consensus import ranked
from models.nlg.corpora import Meaning, by_meaning, read_references
from models.nlg.delexicalise import DELEXICALISED, written
from models.nlg.fit import open_fit, splits
from models.nlg.network import NlgNetwork
from models.nlg.prompts import STYLES, encode_meaning, slot_keys
from models.nlg.realisations import Patterns
from models.nlg.rows import Row, read_rows, write_rows
from models.nlg.sampling import sample
from models.training import seed_everything
from parley.command import exit_with
from parley.errors import ParleyError
from parley.progress import progress

_CHUNK = 16
"""Meanings whose replies are written together."""


def draw_meanings(known: Sequence[Meaning], values: dict[str, list[str]], count: int, seed: int) -> list[Meaning]:
    """Different meanings with the slots of known ones; slots the network reads by value get one of ``values``."""
    rng, found = random.Random(seed), dict.fromkeys(known)
    for _ in range(20 * count):
        if len(found) >= count:
            break
        meaning = rng.choice(known)
        drawn = []
        for slot, value in meaning:
            given = {v for s, v in meaning if s == slot}
            fixed = slot in DELEXICALISED or len(given) > 1
            drawn.append((slot, value if fixed else rng.choice(values[slot])))
        found[tuple(drawn)] = None
    keys = {tuple(slot_keys(meaning) or ()): meaning for meaning in found}
    return [meaning for key, meaning in keys.items() if key][:count]


class Committee:
    """Networks that write together, with one vocabulary.

    Raises:
        ParleyError: their vocabularies differ.
    """

    def __init__(self, runs: Sequence[Path]) -> None:
        opened = [open_fit(path) for path in runs]
        self.tokenizer: Tokenizer = opened[0][1]
        self.networks: list[NlgNetwork] = [network for _, _, network in opened]
        for path, (_, tokenizer, _) in zip(runs, opened, strict=True):
            if tokenizer.get_vocab() != self.tokenizer.get_vocab():
                raise ParleyError("the runs read different texts", where=str(path), mend="train them on one corpus")

    def write(
        self, meanings: Sequence[Meaning], count: int, temperature: float, top_p: float, seed: int
    ) -> list[list[str]]:
        """``count`` delexicalised replies to each meaning; one that never ends is empty."""
        vocab, generator = self.tokenizer.get_vocab(), torch.Generator().manual_seed(seed)
        prompts = [encode_meaning(vocab, meaning) for meaning in meanings]
        if any(prompt is None for prompt in prompts):
            raise ParleyError("a meaning the network cannot be asked for", mend="leave it to the fallback")
        ids = torch.stack([torch.from_numpy(prompt) for prompt in prompts]).repeat_interleave(count, 0)
        replies = sample(self.networks, ids, temperature, top_p, generator)
        texts = [self.tokenizer.decode(reply, skip_special_tokens=False) for reply in replies]
        return [texts[i * count : (i + 1) * count] for i in range(len(meanings))]


def words_of(text: str) -> list[str]:
    """Words of a delexicalised text as BLEU would count them."""
    return text.replace(".", " .").replace(",", " ,").replace("{", " {").split()


def best(texts: Sequence[str], meaning: Meaning, patterns: Patterns, references: float) -> list[str]:
    """The replies that say exactly the meaning, each once, the one of most consensus first."""
    once = {text: not patterns.errors(written(text, meaning), meaning).errors for text in set(texts) if text}
    allowed = [once.get(text, False) for text in texts]
    return [texts[place] for place in ranked([words_of(text) for text in texts], allowed, references)]


def teach(
    runs: Sequence[Path], corpus: Path, fold: str, out: Path, *, count: int, replies: int, temperature: float,
    top_p: float, references: float, seed: int,
) -> list[Row]:  # fmt: skip
    """Write ``out``; see the module's text. Returns its rows.

    Raises:
        ParleyError: a run is not finished, or the runs read different texts.
    """
    seed_everything(seed)
    committee = Committee(runs)
    rows = read_references(corpus)
    train, _ = splits(rows, fold)
    patterns = Patterns.of_e2e({pair for row in rows for pair in row.meaning})
    values = {slot: list(known) for slot, known in patterns.spec["slots"].items()}
    meanings = draw_meanings(list(by_meaning(train)), values, count, seed)
    taught = read_rows(out) if out.exists() else []
    done = {row.meaning for row in taught}
    todo = [meaning for meaning in meanings if meaning not in done]
    with progress("teach", len(meanings)) as bar:
        bar.advance(len(meanings) - len(todo))
        for start in range(0, len(todo), _CHUNK):
            chunk = todo[start : start + _CHUNK]
            drawn = committee.write(chunk, replies, temperature, top_p, seed + start)
            for meaning, texts in zip(chunk, drawn, strict=True):
                kept = best(texts, meaning, patterns, references)[:STYLES]
                taught += [Row(meaning, text, style) for style, text in enumerate(kept)]
            bar.advance(len(chunk))
            write_rows(out, taught)
    return taught


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and write the rows. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="finished runs of models.nlg.fit, of other seeds")
    parser.add_argument("--corpus", required=True, type=Path)
    parser.add_argument("--fold", choices=("valid", "all"), default="valid", help="whose meanings are varied")
    parser.add_argument("--out", required=True, type=Path, help="the rows, a JSON object a line")
    parser.add_argument("--count", type=int, default=2500, help="meanings")
    parser.add_argument("--replies", type=int, default=32, help="drawn for each meaning")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--references", type=float, default=2.5)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    teach(args.runs, args.corpus, args.fold, args.out, count=args.count, replies=args.replies,
          temperature=args.temperature, top_p=args.top_p, references=args.references, seed=args.seed)  # fmt: skip
    return 0


if __name__ == "__main__":
    exit_with(main)
