"""A reading is whole or is counted: a table of kinds, and properties that hold for any text."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.quality.tts_readings import Row, canonical, ours, rows
from parley.language import Token
from parley.language.english.tokenise import tokenise
from parley.language.english.written import fold

ROWS = rows()
MARKS = frozenset("\"'()[]{}.,;:!?-*_`")
"""What may be silent: marks of pauses, quotes, brackets, dashes, and stress around a word."""
SIGNS = "$£€%+&@#=<>≥≤±×÷°√π½→§₹^~|\\😀★"


def said(text: str) -> list[tuple[tuple[str, ...], str]]:
    return [(token.spoken, token.pause) for token in tokenise(text)]


def spelled(tokens: list[Token]) -> list[str]:
    return [part for token in tokens for part in token.spelled]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.kind}: {row.written}" for row in ROWS])
def test_a_row_of_the_table(row: Row) -> None:
    reading = ours()(row.written)
    assert row.accepts(reading), f"{canonical(reading)!r} is not {row.expected!r}"


def test_the_table_is_large_and_says_nothing_twice() -> None:
    assert len(ROWS) >= 800
    assert len({row.written for row in ROWS}) == len(ROWS)


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_every_visible_character_is_in_a_word_that_is_said(text: str) -> None:
    covered = {n for t in tokenise(text) for n in range(t.start, t.start + len(t.text))}
    for place, char in enumerate(text):
        if unicodedata.category(char)[0] in "LNS" and set(fold(char)) - MARKS - {" "}:
            assert place in covered, (char, tokenise(text))


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_every_word_has_something_to_say_in_plain_words(text: str) -> None:
    for token in tokenise(text):
        assert token.words
        assert all(re.fullmatch(r"[a-z]+('[a-z]+)*|[A-Z]('s)?|,", word) for word in token.spoken), token


@given(
    st.lists(st.text(alphabet="aekxBKM123479" + SIGNS, min_size=1, max_size=6), min_size=1, max_size=3).map(" ".join),
    st.data(),
)
@settings(max_examples=300)
def test_no_character_can_be_taken_away_unheard(text: str, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from([n for n, c in enumerate(text) if c != " "]))
    assert said(text) != said(text[:place] + text[place + 1 :]), said(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Pay $12.50 at 5 p.m. by ATM.", []),
        ("Call 1-800-FLOWERS or 911", []),
        ("Take the ☂", ["☂"]),
        ("Иван and 東京", ["Иван", "東", "京"]),
        ("code ab12cd345ef", ["ab12cd345ef"]),
        ("odd \ue000 thing", ["\ue000"]),
    ],
)
def test_what_no_rule_reads_is_counted(text: str, parts: list[str]) -> None:
    assert spelled(tokenise(text)) == parts


def test_rows_of_numbers_without_end_are_read_in_time() -> None:
    assert len(tokenise("1 " * 3000)) == 3000
    assert len(tokenise("1-2 " * 3000)) == 3000
    assert len(tokenise("a#" * 1500)) == 1
