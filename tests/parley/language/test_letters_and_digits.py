"""What is a word, which words are the same, and how digits are said: in any alphabet, one or several at a time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_language import GREEK

from parley.language.digits import DigitWords
from parley.language.english import ENGLISH
from parley.language.letters import Letters

RUSSIAN = Letters("абвгдежзийклмнопрстуфхцчшщъыьэюяё", inner="-", silent="\u0301", drops_accents=False)
ONES = ("ноль", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять")
PAIRS = DigitWords(
    {str(n): (word,) for n, word in enumerate(ONES)}
    | {"20": ("двадцать",), "21": ("двадцать один", "двадцать одна"), "100": ("сто",)},
    repeats={},
)


@pytest.mark.parametrize(
    ("letters", "phrase", "is_one"),
    [
        (ENGLISH.letters, "i'd like one", True),
        (ENGLISH.letters, "I'd like", False),
        (ENGLISH.letters, "two  blanks", False),
        (ENGLISH.letters, "кофе", False),
        (RUSSIAN, "что-нибудь ещё", True),
        (RUSSIAN, "-нибудь", False),
        (RUSSIAN, "coffee", False),
        (RUSSIAN, "Кофе", False),
    ],
)
def test_a_phrase_is_small_letters_of_the_language(letters: Letters, phrase: str, is_one: bool) -> None:
    assert letters.is_phrase(phrase) == is_one


def test_what_changes_no_word_is_left_out_before_words_are_compared() -> None:
    assert RUSSIAN.fold("За\u0301мок") == "замок" and RUSSIAN.fold("и\u0306од") == "йод"
    assert RUSSIAN.plain("Ёлка, ДВА\u0301!") == "ёлка два"
    assert GREEK.letters.fold("Τσα\u0301ι") == "τσάι", "composed as in the phrases"
    assert ENGLISH.letters.plain("I'd like 2 LATTES") == "i d like 2 lattes"


def test_a_script_without_capitals_keeps_its_letters_at_the_beginning_of_a_sentence() -> None:
    assert ENGLISH.letters.capital("გამარჯობა") == "გამარჯობა", "its capitals are for headlines"
    assert ENGLISH.letters.capital("hello You") == "Hello You"


@pytest.mark.parametrize(
    ("said", "digits"),
    [
        ("двадцать один", "21"),
        ("двадцать одна", "21"),
        ("двадцать", "20"),
        ("два двадцать", "220"),
        ("сто 7 один", "10071"),
        ("двадцать кофе", None),
        ("", None),
    ],
)
def test_several_digits_may_be_one_way_of_several_words(said: str, digits: str | None) -> None:
    assert PAIRS.digits_of(said.split()) == digits


@given(st.text("0123456789", min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_digits_as_callers_say_them_are_these_digits(digits: str, rng: random.Random) -> None:
    for words in (PAIRS, ENGLISH.digits):
        assert words.digits_of(words.words_of(digits, rng)) == digits == words.digits_of(words.words_of(digits))
        assert all(words.says(word) for word in words.words_of(digits, rng))


def test_ways_side_by_side_that_say_another_number_are_not_drawn() -> None:
    drawn = {" ".join(PAIRS.words_of("201", random.Random(seed))) for seed in range(50)}

    assert drawn == {"два ноль один"}, "двадцать один is 21"
    assert "двадцать один" in {" ".join(PAIRS.words_of("21", random.Random(seed))) for seed in range(50)}
