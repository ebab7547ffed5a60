"""English. Reading figures takes libraries that are slow to load: they are loaded when something is first read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from parley.language.contract import CallersSpeech, Disclosure, Language, Token, VoiceScript
from parley.language.digits import DigitWords
from parley.language.english.article import article
from parley.language.english.sounds import SOUNDS
from parley.language.english.voices import VOICES
from parley.language.letters import Letters


class _Inflection:
    """``a~`` is "a" or "an" by the sound of what follows. Nothing else changes its form."""

    def agree(self, word: str, form: str, following: str) -> str | None:
        return word + article(following)[1:] if word in ("a", "A") and not form and following else None

    def forms(self, value: str) -> Collection[str]:
        return (value,)


class _Reader:
    """Numbers, dates, prices and signs as in the United States."""

    def tokenise(self, text: str) -> list[Token]:
        from parley.language.english.tokenise import tokenise

        return tokenise(text)


def _script() -> VoiceScript:
    from parley.language.english.script import EnglishScript

    return EnglishScript()


_CALLERS = CallersSpeech(
    before=(
        "um", "uh", "er", "well", "so", "hi", "hello", "okay so", "hey", "yeah um", "please", "ah", "oh", "right",
        "and",
    ),
    after=("please", "thanks", "thank you", "um", "uh", "okay", "if you can", "now", "you know", "today"),
    alike={"a": ("an",), "an": ("a",)},
    droppable=frozenset(["a", "an", "the", "please", "my", "i", "to", "me", "of", "some"]),
    unsettled=frozenset(["a", "an"]),
    onsets=(
        "b", "br", "c", "ch", "d", "f", "fl", "g", "h", "j", "k", "l", "m", "n", "p", "pr", "r", "s", "st", "t", "tr",
        "v", "w",
    ),
    nuclei="aeiou",
    codas=("", "n", "r", "s", "t", "ck", "ll", "ng", "nd", "ster", "tion", "ing", "ed", "y"),
    elsewhere=Path(__file__).with_name("out_of_scope.txt"),
)  # fmt: skip

ENGLISH = Language(
    tag="en",
    letters=Letters("abcdefghijklmnopqrstuvwxyz", inner="'"),
    digits=DigitWords(
        {
            "0": ("zero", "oh"), "1": ("one",), "2": ("two",), "3": ("three",), "4": ("four",), "5": ("five",),
            "6": ("six",), "7": ("seven",), "8": ("eight",), "9": ("nine",),
        },
        repeats={"double": 2, "triple": 3},
    ),
    inflection=_Inflection(),
    disclosure=Disclosure("You are talking to an AI assistant.", names=("AI",)),
    reader=_Reader(),
    sounds=SOUNDS,
    probe="yes",
    system_voice="en",
    callers=_CALLERS,
    voices=VOICES,
    script=_script,
)  # fmt: skip
