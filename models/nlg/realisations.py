"""What a text says of a meaning representation: slots missing, added or wrong, by patterns over the text.

The approach is that of Dušek, Howcroft and Rieser 2019, "Semantic Noise Matters for Neural Natural Language Generation"
(INLG): every value has regular expressions; a match within a longer match does not count; a phrase that can say several
values says the one that was asked for.

>>> patterns = Patterns.of_e2e({("name", "Cotto"), ("near", "Ranch")})
>>> patterns.errors("Cotto is a cheap pub.", (("name", "Cotto"), ("eatType", "pub"), ("near", "Ranch")))
SlotDiff(missing=1, added=1, wrong=0, repeated=0)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from parley.errors import ParleyError

E2E = Path(__file__).with_name("e2e.yaml")

Pair = tuple[str, str]
"""A slot and its value."""


@dataclass(frozen=True)
class Mention:
    """A phrase of the text, and the slots and values it may say."""

    start: int
    end: int
    readings: frozenset[Pair]


@dataclass(frozen=True)
class SlotDiff:
    """How a text differs from what it should say."""

    missing: int = 0
    added: int = 0
    wrong: int = 0
    """Slots that are said with another value; not counted as missing or added."""
    repeated: int = 0
    """Values said again; no error, a name may well be said twice."""

    @property
    def errors(self) -> int:
        """Missing, added and wrong: what the slot error rate counts."""
        return self.missing + self.added + self.wrong

    def __add__(self, other: SlotDiff) -> SlotDiff:
        return SlotDiff(self.missing + other.missing, self.added + other.added, self.wrong + other.wrong,
                        self.repeated + other.repeated)  # fmt: skip


class Patterns:
    """Regular expressions for every value of a domain.

    Args:
        spec: ``slots`` (slot to value to expressions), ``lists`` (what ``{name}`` stands for in them) and ``verbatim``
            (slots said by their value), as in ``e2e.yaml``.
        verbatim: known pairs; those of the verbatim slots are looked for.

    Raises:
        ParleyError: an expression does not compile.
    """

    def __init__(self, spec: dict[str, Any], verbatim: Iterable[Pair] = ()) -> None:
        self.spec = spec
        self._expressions: list[tuple[re.Pattern[str], Pair]] = []
        for slot, values in spec["slots"].items():
            for value, expressions in values.items():
                for expression in expressions:
                    for name, choices in spec["lists"].items():
                        expression = expression.replace(f"{{{name}}}", choices)
                    self._expressions.append((_compile(expression), (slot, value)))
        self._know(verbatim)

    def _know(self, verbatim: Iterable[Pair]) -> None:
        self._expressions = [
            *self._expressions,
            *(
                (_compile(re.escape(pair[1])), pair)
                for pair in sorted(set(verbatim))
                if pair[0] in self.spec["verbatim"]
            ),
        ]
        self.mentions = lru_cache(maxsize=1 << 16)(self._mentions)
        """Phrases of a text that say a value, from left to right; none lies within another."""

    def knowing(self, verbatim: Iterable[Pair]) -> Patterns:
        """These patterns and, of the verbatim slots, the values in ``verbatim``."""
        more = copy(self)
        more._know(verbatim)
        return more

    @classmethod
    def of_e2e(cls, pairs: Iterable[Pair]) -> Patterns:
        """The patterns of the E2E corpus; the names to look for are the pairs'."""
        return cls(yaml.safe_load(E2E.read_text(encoding="utf-8")), pairs)

    def _mentions(self, text: str) -> tuple[Mention, ...]:
        found: dict[tuple[int, int], set[Pair]] = {}
        for expression, pair in self._expressions:
            for match in expression.finditer(text):
                found.setdefault(match.span(), set()).add(pair)
        return tuple(
            Mention(*span, frozenset(pairs))
            for span, pairs in sorted(found.items())
            if not any(o[0] <= span[0] and span[1] <= o[1] and o != span for o in found)
        )

    def read(self, text: str, wanted: Sequence[Pair]) -> list[tuple[Mention, Pair]]:
        """Each mention with the one pair it says: one that is wanted and not yet said, else wanted, else any.

        The phrases with fewest wanted readings choose first, so that "cheap" leaves "less than £20" to its phrase.
        """
        left, slots = Counter(wanted), Counter(slot for slot, _ in wanted)
        chosen: dict[Mention, Pair] = {}
        mentions = self.mentions(text)

        def rivals(mention: Mention) -> int:
            return len(mention.readings & set(wanted)) or len(wanted) + 1

        for mention in sorted(mentions, key=rivals):
            pair = min(mention.readings, key=lambda p: (left[p] <= 0, p not in wanted, slots[p[0]] <= 0, p))
            chosen[mention] = pair
            left[pair] -= 1
            slots[pair[0]] -= 1
        return [(mention, chosen[mention]) for mention in mentions]

    def errors(self, text: str, wanted: Sequence[Pair]) -> SlotDiff:
        """Compare what a text says with what it should say."""
        said = Counter(pair for _, pair in self.read(text, wanted))
        asked = Counter(wanted)
        repeated = sum(n - max(asked[pair], 1) for pair, n in said.items() if n > max(asked[pair], 1))
        said = Counter({pair: min(n, max(asked[pair], 1)) for pair, n in said.items()})
        missing, added = asked - said, said - asked
        diff = SlotDiff(repeated=repeated)
        for slot in {s for s, _ in [*missing, *added]}:
            less = sum(n for (s, _), n in missing.items() if s == slot)
            more = sum(n for (s, _), n in added.items() if s == slot)
            diff += SlotDiff(max(less - more, 0), max(more - less, 0), min(less, more))
        return diff


def _compile(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(rf"(?<!\w)(?:{expression})(?!\w)", re.IGNORECASE)
    except re.error as error:
        raise ParleyError(f"a pattern does not compile: {error}", where=expression, mend="mend e2e.yaml") from None
