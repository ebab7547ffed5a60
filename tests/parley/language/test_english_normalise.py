"""Text normalisation: what is said for figures, abbreviations, addresses, and that every word keeps its place."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tts.client import word_times
from models.tts.text import Lexicon, sayable
from parley.language.contract import BREATH
from parley.language.english.abbreviations import vocabulary
from parley.language.english.tokenise import tokenise
from parley.language.english.written import fold

LEXICON = Lexicon({chr(c): ["b", "iy"] for c in range(65, 91)}, asks=False)

CARDINALS = [
    ("I have 21 cats", "i have twenty one cats"),
    ("0 or 7", "zero or seven"),
    ("101 steps", "one hundred and one steps"),
    ("1,200 people", "one thousand two hundred people"),
    ("10,000,000", "ten million"),
    ("There are 4471 people in line", "there are four thousand four hundred and seventy one people in line"),
    ("-5 or +7", "minus five or plus seven"),
    ("5k and 3bn", "five thousand and three billion"),
    ("plan A, 2x", "plan A, two times"),
]
ORDINALS = [
    ("the 1st, 2nd and 3rd", "the first, second and third"),
    ("his 21st time", "his twenty first time"),
    ("the 112th", "the one hundred and twelfth"),
]
DECIMALS_AND_FRACTIONS = [
    ("3.14", "three point one four"),
    ("0.50", "zero point five zero"),
    (".5 miles", "point five miles"),
    ("1/2 cup", "one half cup"),
    ("3/4 full", "three quarters full"),
    ("2 1/2 cups", "two and a half cups"),
    ("2½ cups", "two and a half cups"),
    ("¾ of it", "three quarters of it"),
    ("version 2.1.3", "version two point one point three"),
]
PRICES = [
    ("$4.50", "four dollars and fifty cents"),
    ("$1", "one dollar"),
    ("$1.01", "one dollar and one cent"),
    ("$0.99", "ninety nine cents"),
    ("$4.5", "four dollars and fifty cents"),
    ("$ 5 please", "five dollars please"),
    ("£1,200", "one thousand two hundred pounds"),
    ("£3.01", "three pounds and one penny"),
    ("£0.45", "forty five pence"),
    ("€3.99 each", "three euros and ninety nine cents each"),
    ("20€", "twenty euros"),
    ("99¢", "ninety nine cents"),
    ("$5 million", "five million dollars"),
    ("$2.5M", "two point five million dollars"),
    ("-$5.00", "minus five dollars"),
    ("$10-15", "ten to fifteen dollars"),
    ("$5/month", "five dollars per month"),
    ("20 USD", "twenty U S dollars"),
]
TIMES = [
    ("at 10:30", "at ten thirty"),
    ("at 9:05", "at nine oh five"),
    ("10:00", "ten o'clock"),
    ("9:00 a.m. sharp", "nine A M sharp"),
    ("5pm", "five P M"),
    ("10:30am", "ten thirty A M"),
    ("at 5 p.m. Please wait", "at five P M. please wait"),
    ("17:45", "seventeen forty five"),
    ("17:00", "seventeen hundred"),
    ("0:00", "midnight"),
    ("9am-5pm", "nine A M to five P M"),
    ("9:00-17:30", "nine o'clock to seventeen thirty"),
]
DATES = [
    ("on 3/14/2024", "on march fourteenth, twenty twenty four"),
    ("31/12/2024", "december thirty first, twenty twenty four"),
    ("2024-03-14", "march fourteenth, twenty twenty four"),
    ("14.03.2024", "march fourteenth, twenty twenty four"),
    ("3/4/99", "march fourth, nineteen ninety nine"),
    ("March 3rd, 2024", "march third, twenty twenty four"),
    ("May 5", "may fifth"),
    ("Jan. 5", "january fifth"),
    ("3 March 2024", "the third of march twenty twenty four"),
    ("the 3 March", "the third of march"),
    ("on 9/11", "on september eleventh"),
    ("Mon. to Fri.", "monday to friday"),
    ("Mon-Fri", "monday to friday"),
    ("I sat in the sun", "i sat in the sun"),
]
YEARS = [
    ("in 1999", "in nineteen ninety nine"),
    ("since 2005, yes", "since two thousand and five, yes"),
    ("in 1500 shops", "in one thousand five hundred shops"),
    ("June 2024", "june twenty twenty four"),
    ("from 1999-2003", "from nineteen ninety nine to two thousand and three"),
    ("the 1990s", "the nineteen nineties"),
    ("the '80s", "the eighties"),
]
CODES = [
    ("call 555-0123", "call five five five, zero one two three"),
    ("(555) 123-4567 now", "five five five, one two three, four five six seven now"),
    ("+1-555-123-4567", "plus one, five five five, one two three, four five six seven"),
    ("+44 20 7946 0018", "plus four four, two zero, seven nine four six, zero zero one eight"),
    ("5551234567", "five five five, one two three, four five six seven"),
    ("ending in 4471", "ending in four four seven one"),
    ("Your PIN is 1234", "your pin is one two three four"),
    ("zip 90210", "zip nine zero two one zero"),
    ("007", "zero zero seven"),
    ("#5 and #4471", "number five and number four four seven one"),
    ("flight AB123", "flight A B one two three"),
    ("code A4B7", "code A four B seven"),
    ("4111111111111111", "four one one one, one one one one, one one one one, one one one one"),
]
ABBREVIATIONS = [
    ("Mr. and Mrs. Hill, Ms. Ray", "mister and missus hill, miz ray"),
    ("Dr. Smith lives on Sunset Dr. now", "doctor smith lives on sunset drive now"),
    ("12 St. James St. please", "twelve saint james street please"),
    ("Ask Prof. Lee", "ask professor lee"),
    ("No. 5, no. Five", "number five, no. five"),
    ("e.g. tea, i.e. a drink, etc.", "for example tea, that is a drink, et cetera"),
    ("cats vs. dogs", "cats versus dogs"),
    ("the U.S. office", "the U S office"),
    ("the AI's ATM", "the A I's A T M"),
    ("YES, your PIN is OK", "yes, your pin is okay"),
    ("Mr O'Neil", "mister o'neil"),
    ("AT&T", "A T and T"),
    ("24/7", "twenty four seven"),
]
UNITS = [
    ("5 km or 1 lb", "five kilometers or one pound"),
    ("a 12 oz. cup, 3 oz.", "a twelve ounce cup, three ounces"),
    ("72°F", "seventy two degrees fahrenheit"),
    ("-5 °C", "minus five degrees celsius"),
    ("250ml", "two hundred and fifty milliliters"),
    ("60 km/h", "sixty kilometers per hour"),
    ("25% or 3.5 %", "twenty five percent or three point five percent"),
    ("10–15 min", "ten to fifteen minutes"),
    ("a 12-ounce cup", "a twelve ounce cup"),
    ("3x4", "three by four"),
]
LEFT_ALONE = [
    ("Henry VIII", "henry the eighth"),
    ("I am MIX", "i am M I X"),
    ("It is 5. He left", "it is five. he left"),
    ("no one", "no one"),
    ("either/or", "either or"),
]
ADDRESSES = [
    ("bob.lee@example.com", "bob dot lee at example dot com"),
    ("www.example.co.uk", "W W W dot example dot co dot U K"),
    ("https://example.org/help", "example dot org slash help"),
    ("at example.com.", "at example dot com"),
    ("end.Next one", "end. next one"),
]
LETTERS = [
    ("Café Zoë’s Straße", "cafe zoe's strasse"),
    ("“Smørrebrød” — now", "smorrebrod, now"),
    ("５ ٣", "five three"),
]
MIXED = [
    (
        "Dr. Lee's bill of $1,234.56 is due on 3/1/2025 at 5 p.m.",
        "doctor lee's bill of one thousand two hundred and thirty four dollars and fifty six cents is due on march "
        "first, twenty twenty five at five P M",
    ),
    ("Flight 370, Gate B12, 10:05 p.m.", "flight three seven zero, gate B twelve, ten oh five P M"),
    (
        "2 lattes @ $3.75 = $7.50",
        "two lattes at three dollars and seventy five cents equals seven dollars and fifty cents",
    ),
]
CASES = [
    *CARDINALS, *ORDINALS, *DECIMALS_AND_FRACTIONS, *PRICES, *TIMES, *DATES, *YEARS, *CODES, *ABBREVIATIONS, *UNITS,
    *LEFT_ALONE, *ADDRESSES, *LETTERS, *MIXED,
]  # fmt: skip


def said(text: str) -> str:
    """What is read, lower case, letters in capitals, without the last full stop."""
    tokens = tokenise(text)
    words = [" ".join(t.spoken).replace(f" {BREATH}", BREATH) + t.pause for t in tokens]
    return " ".join(words).rstrip(".")


@pytest.mark.parametrize(("written", "expected"), CASES, ids=[written for written, _ in CASES])
def test_it_is_read_as_a_person_would(written: str, expected: str) -> None:
    assert said(written) == expected


@given(st.lists(st.sampled_from([written for written, _ in CASES]), min_size=1, max_size=4).map(" ".join))
def test_words_are_stretches_of_the_reply_in_its_order(text: str) -> None:
    reached = 0
    for token in tokenise(text):
        assert text[token.start : token.start + len(token.text)] == token.text
        assert token.start >= reached
        reached = token.start + len(token.text)


@given(st.text(max_size=60))
def test_no_letter_or_figure_of_the_reply_is_lost(text: str) -> None:
    covered = {n for t in tokenise(text) for n in range(t.start, t.start + len(t.text))}
    sayable_places = {n for n, c in enumerate(text) if re.search("[A-Za-z0-9]", fold(c))}
    assert sayable_places <= covered


@given(st.text(alphabet="0123456789.,:/-$£€%°+#apmkM ½xst", max_size=40))
def test_any_figures_give_plain_words(text: str) -> None:
    for token in tokenise(text):
        assert all(re.fullmatch(r"[a-z']+|[A-Z]('s)?|,", word) for word in token.spoken)
        assert token.spoken[-1] != BREATH or token.words


def test_hostile_lengths_end() -> None:
    tokens = tokenise("9" * 5000 + " $" + "8" * 5000 + " " + "a" * 5000)
    assert [len(t.text) for t in tokens] == [5000, 5001, 5000]


def test_a_word_ends_when_the_last_of_its_spoken_words_does() -> None:
    sequence = LEXICON.sequence(tokenise("Call 555-0123, or pay $5 million."))
    assert sequence.words == ("Call", "555-0123", "or", "pay", "$5", "million")
    times = word_times(sequence, np.full(len(sequence.ids), 2), 80, 8000)
    assert [t.word for t in times] == list(sequence.words)
    ends = [t.end_s for t in times]
    assert ends == sorted(ends)
    call, number, after = times[0], times[1], times[2]
    assert call.end_s <= number.start_s and number.end_s < after.start_s  # the comma's pause lies between


def test_a_pause_between_groups_lies_inside_the_word() -> None:
    sequence = LEXICON.sequence(tokenise("555-0123"))
    symbols = [LEXICON.symbols[i] for i in sequence.ids]
    inner = symbols.index(",")
    assert sequence.word_of[inner] == -1
    assert set(sequence.word_of[1:inner]) == {0} == set(sequence.word_of[inner + 1 : -1])


def test_a_synthesiser_is_given_the_pauses_too() -> None:
    assert sayable(tokenise("Call 555-0123.")) == "Call five five five, zero one two three."


def test_the_vocabulary_is_words_that_can_be_looked_up() -> None:
    assert {"missus", "street", "kilometers", "fahrenheit", "o'clock", "penny"} <= set(vocabulary())
    assert all(re.fullmatch(r"[a-z']+", word) for word in vocabulary())
