"""Write rows to teach one network with what several know: `python -m models.nlg.teach RUN… --corpus devel.csv --out F`.

Meanings are made as the corpus makes them: the slots of one of its training meanings, with values drawn anew; none of
validation, and none of the files ``--apart`` (a test: its references are not looked at). The runs
write many replies to each together; those that say exactly the meaning vote, and the likeliest by consensus are kept,
the best as style 0, the next as 1, and so on. The network that learns from them writes at once what they agreed on
(Kim and Rush 2016; Bertsch et al. 2023). Interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from models.loop import seed_everything
from models.nlg.check import repaired, says_exactly
from models.nlg.consensus import ranked
from models.nlg.corpora import Meaning, by_meaning, read_references
from models.nlg.delexicalise import DELEXICALISED
from models.nlg.fit import open_fit, splits
from models.nlg.prompts import STYLES, encode_meaning, slot_keys
from models.nlg.realisations import Patterns
from models.nlg.rows import Row, read_rows, write_rows
from models.nlg.sampling import sample
from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.errors import ParleyError
from parley.progress import progress

_CHUNK = 16
"""Meanings whose replies are written together."""


def draw_meanings(
    known: Sequence[Meaning], values: dict[str, list[str]], apart: Collection[Meaning], count: int, seed: int
) -> list[Meaning]:
    """Meanings that read differently, none of ``apart``: the known ones, then such with their slots and drawn values.

    Only slots that the network reads by value get one of ``values``; names and the like stay.
    """
    rng = random.Random(seed)
    found: dict[tuple[str, ...], Meaning] = {}
    for meaning in known:
        found.setdefault(tuple(slot_keys(meaning) or ()), meaning)
    for _ in range(20 * count):
        if len(found) >= count:
            break
        meaning = rng.choice(known)
        drawn = []
        for slot, value in meaning:
            several = len({v for s, v in meaning if s == slot}) > 1
            drawn.append((slot, value if slot in DELEXICALISED or several else rng.choice(values[slot])))
        if tuple(drawn) not in apart:
            found.setdefault(tuple(slot_keys(tuple(drawn)) or ()), tuple(drawn))
    return [meaning for key, meaning in found.items() if key][:count]


class Committee:
    """Networks that each write a part of the replies.

    Raises:
        ParleyError: a run is not finished.
    """

    def __init__(self, runs: Sequence[Path]) -> None:
        self._members = [(tokenizer, network) for _, tokenizer, network in map(open_fit, runs)]

    def write(
        self, meanings: Sequence[Meaning], count: int, temperature: float, top_p: float, seed: int
    ) -> list[list[tuple[str, float]]]:
        """``count`` delexicalised replies of each member to each meaning, with log-probabilities; "" never ended.

        Raises:
            ParleyError: a meaning has more values than a prompt holds.
        """
        found: list[list[tuple[str, float]]] = [[] for _ in meanings]
        generator = torch.Generator().manual_seed(seed)
        for tokenizer, network in self._members:
            prompts = torch.stack([_prompt(tokenizer, meaning) for meaning in meanings]).repeat_interleave(count, 0)
            for at, (ids, logprob) in enumerate(sample(network, prompts, temperature, top_p, generator)):
                found[at // count].append((tokenizer.decode(ids, skip_special_tokens=False), logprob))
        return found


def _prompt(tokenizer: Tokenizer, meaning: Meaning) -> torch.Tensor:
    prompt = encode_meaning(tokenizer.get_vocab(), meaning)
    if prompt is None:
        raise ParleyError("more values than a prompt holds", where=str(meaning)[:200], mend="leave the meaning out")
    return torch.from_numpy(prompt)


def words_of(text: str) -> list[str]:
    """Words of a delexicalised text as BLEU would count them."""
    return text.replace(".", " .").replace(",", " ,").replace("{", " {").split()


def best(drawn: Sequence[tuple[str, float]], meaning: Meaning, patterns: Patterns, weight: float) -> list[str]:
    """The replies that say exactly the meaning, each once, the best first.

    If none does, those that do with plain sentences for what they miss.
    """
    texts = {text for text, _ in drawn}
    kept = {text: text for text in texts if says_exactly(text, meaning, patterns)}
    if not kept:
        mended = {text: repaired(text, meaning, patterns) for text in texts}
        kept = {text: more for text, more in mended.items() if more}
    order = ranked([(words_of(text), logprob) for text, logprob in drawn], [text in kept for text, _ in drawn], weight)
    return [kept[drawn[place][0]] for place in order]


def teach(
    runs: Sequence[Path], corpus: Path, fold: str, apart: Sequence[Path], out: Path, *, count: int, replies: int,
    temperature: float, top_p: float, weight: float, seed: int,
) -> list[Row]:  # fmt: skip
    """Write ``out``; see the module's text. Returns its rows.

    Raises:
        ParleyError: a run is not finished.
    """
    seed_everything(seed)
    committee = Committee(runs)
    rows = read_references(corpus)
    train, valid = splits(rows, fold)
    held = {row.meaning for path in apart for row in read_references(path)}
    held |= set(by_meaning(valid)) - set(by_meaning(train))
    patterns = Patterns.of_e2e({pair for row in rows for pair in row.meaning})
    values = {slot: list(known) for slot, known in patterns.spec["slots"].items()}
    meanings = draw_meanings(list(by_meaning(train)), values, held, count, seed)
    taught = read_rows(out) if out.exists() else []
    done = {row.meaning for row in taught}
    todo = [meaning for meaning in meanings if meaning not in done]
    with progress("teach", len(meanings)) as bar:
        bar.advance(len(meanings) - len(todo))
        for start in range(0, len(todo), _CHUNK):
            chunk = todo[start : start + _CHUNK]
            drawn = committee.write(chunk, replies, temperature, top_p, seed + start)
            for meaning, texts in zip(chunk, drawn, strict=True):
                kept = best(texts, meaning, patterns, weight)[:STYLES]
                taught += [Row(meaning, text, style) for style, text in enumerate(kept)]
            bar.advance(len(chunk))
            write_rows(out, taught)
    return taught


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and write the rows. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="finished runs of models.nlg.fit, of other seeds")
    parser.add_argument("--corpus", required=True, type=Path)
    parser.add_argument("--fold", choices=("valid", "all"), default="valid", help="whose meanings are varied")
    parser.add_argument("--apart", nargs="*", type=Path, default=[], help="files whose meanings are never drawn")
    parser.add_argument("--out", required=True, type=Path, help="the rows, a JSON object a line")
    parser.add_argument("--count", type=int, default=2500, help="meanings")
    parser.add_argument("--replies", type=int, default=16, help="drawn by each run for each meaning")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--weight", type=float, default=0.05, help="of the log-probability beside the consensus")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    teach(args.runs, args.corpus, args.fold, args.apart, args.out, count=args.count, replies=args.replies,
          temperature=args.temperature, top_p=args.top_p, weight=args.weight, seed=args.seed)  # fmt: skip
    return 0


if __name__ == "__main__":
    exit_with(main)
