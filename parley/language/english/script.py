"""What an English voice reads to us beside a bot's replies: plain sentences, figures, and words it must know."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

from num2words import num2words

from parley.language.english.abbreviations import DAYS, vocabulary
from parley.language.english.spoken_numbers import MONTHS

_SENTENCES = Path(__file__).with_name("sentences.txt")
_QUESTION = re.compile(
    r"(?i)(how|what|when|where|which|who|whose|why|is|are|am|was|were|do|does|did|can|could|will|would|should|may|has|have)\b"
)


class EnglishScript:
    """An English voice's script."""

    def sentences(self) -> Sequence[str]:
        """Plain English sentences."""
        return [line for line in _SENTENCES.read_text(encoding="utf-8").splitlines() if line]

    def figures(self, rng: random.Random) -> str:
        """A sentence with a price, a time, a date, digits or a day in it."""
        amount = f"${rng.randint(1, 2500)}.{rng.randint(1, 99):02d}"
        forms = [
            f"That will be {amount}, please.",
            f"Your balance is {amount}.",
            f"A payment of £{rng.randint(1, 400)} was made on {rng.choice(DAYS)}.",
            f"Your number is {' '.join(num2words(rng.randint(0, 9)) for _ in range(rng.randint(3, 8)))}.",
            f"We open at {rng.randint(6, 11)}:{rng.choice(('00', '15', '30', '45'))} on {rng.choice(DAYS)}.",
            f"It is the {num2words(rng.randint(1, 31), to='ordinal')} of {rng.choice(MONTHS)}.",
            f"Is {rng.choice(DAYS)} at {rng.randint(1, 12)} all right for you?",
            f"There are {rng.randint(2, 9999)} people in line, and {rng.randint(20, 99)} percent are new.",
        ]
        return rng.choice(forms)

    def listed(self) -> Sequence[str]:
        """Numbers below a hundred, letters, and what reading may say."""
        numbers = [num2words(n).replace("-", " ") for n in range(100)]
        return [*numbers, *(chr(c) for c in range(ord("A"), ord("Z") + 1)), *vocabulary()]

    def is_question(self, text: str) -> bool:
        """Whether a sentence without a mark at its end asks."""
        return _QUESTION.match(text) is not None
