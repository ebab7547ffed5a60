"""Text to phones: numbers, pauses, letters, and words nobody listed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tts import text as tts_text
from models.tts.text import Lexicon, input_symbols, sayable
from parley.errors import ParleyError
from parley.language.english.sounds import SPOKEN, ask_flite
from parley.language.english.tokenise import tokenise

SYMBOLS = input_symbols(SPOKEN)
LETTERS = {chr(c): ["ey"] if c == ord("A") else ["b", "iy"] for c in range(ord("A"), ord("Z") + 1)}
WORDS = {
    "the": ["dh", "ax"],
    "answer": ["ae", "n", "s", "er"],
    "latte": ["l", "aa", "t", "ey"],
    "bar": ["b", "aa", "r"],
}


@pytest.fixture
def lexicon() -> Lexicon:
    return Lexicon({**WORDS, **LETTERS}, {"the": ["dh", "iy"]}, asks=False)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("It is $4.50.", "It is four dollars and fifty cents."),
        ("£1", "One pound."),
        ("at 10:30, or 9:05", "At ten thirty, or nine oh five."),
        ("the 2nd of June", "The second of june."),
        ("1,200 or 3.5%", "One thousand two hundred or three point five percent."),
        ("call 5550123", "Call five five five, zero one two three."),
        ("the bar's AI assistant", "The bar's A I assistant."),
        ("Really? Yes", "Really? Yes."),
        ("A latte, plan A, and a B.", "A latte, plan A, and a B."),
    ],
)
def test_numbers_letters_and_pauses_are_written_as_they_are_said(written: str, said: str) -> None:
    assert sayable(tokenise(written)) == said


def test_tokens_keep_the_written_word_for_its_end_time() -> None:
    assert [t.text for t in tokenise("Pay $4.50, please!")] == ["Pay", "$4.50", "please"]


def test_a_text_with_nothing_to_say_has_no_tokens() -> None:
    assert tokenise(" ... -- ") == []


@given(st.text(max_size=80))
def test_any_text_becomes_symbols_of_the_network(text: str) -> None:
    lexicon = Lexicon({**WORDS, **LETTERS}, asks=False)
    sequence = lexicon.sequence(tokenise(text))
    assert len(sequence.ids) == len(sequence.word_of)
    assert all(0 < i < len(SYMBOLS) for i in sequence.ids)
    assert set(sequence.word_of) - {-1} == set(range(len(sequence.words)))


def test_pauses_and_word_places_are_in_the_symbols(lexicon: Lexicon) -> None:
    sequence = lexicon.sequence(tokenise("The bar. Latte?"))
    assert " ".join(SYMBOLS[i] for i in sequence.ids) == "^ dh_B ax_E b_B aa_I r_E . ^ l_B aa_I t_I ey_E ?"
    assert sequence.word_of == (-1, 0, 0, 1, 1, 1, -1, -1, 2, 2, 2, 2, -1)


def test_a_word_sounds_different_before_a_vowel(lexicon: Lexicon) -> None:
    symbols = [SYMBOLS[i] for i in lexicon.sequence(tokenise("The answer, the bar")).ids]
    assert symbols[1:3] == ["dh_B", "iy_E"]
    assert symbols[8:10] == ["dh_B", "ax_E"]


def test_unknown_word_is_spelled_without_flite(lexicon: Lexicon) -> None:
    assert lexicon.phones("ab") == ["ey", "b", "iy"]
    assert lexicon.phones("latte's") == [*WORDS["latte"], "z"]


def test_unknown_word_is_asked_of_flite_once(lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    calls = tmp_path / "calls"
    program = tmp_path / "flite"
    program.write_text(f"#!/bin/sh\necho x >> {calls}\necho 'pau m ow k ax pau'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    ask_flite.cache_clear()
    lexicon.asks = True
    try:
        assert [lexicon.phones("mocha") for _ in range(3)] == [["m", "ow", "k", "ax"]] * 3
        assert calls.read_text().split() == ["x"]
    finally:
        ask_flite.cache_clear()


def test_all_unknown_words_of_a_text_are_asked_at_once(
    lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    calls = tmp_path / "calls"
    program = tmp_path / "flite"
    program.write_text(f'#!/bin/sh\necho "$3" >> {calls}\necho "pau m ow k ax pau f eh r iy pau"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    ask_flite.cache_clear()
    lexicon.asks = True
    for _ in range(2):
        symbols = [SYMBOLS[i].split("_")[0] for i in lexicon.sequence(tokenise("Ferry the abacus")).ids]
        assert symbols == "^ f eh r iy dh iy m ow k ax .".replace("dh iy", "dh ax").split()
    assert calls.read_text().splitlines() == ["Abacus. Ferry."]


def test_words_that_flite_runs_together_are_asked_one_by_one(
    lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    program = tmp_path / "flite"
    program.write_text("#!/bin/sh\necho 'pau m ow pau'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    ask_flite.cache_clear()
    lexicon.asks = True
    try:
        assert [SYMBOLS[i] for i in lexicon.sequence(tokenise("ferry abacus")).ids] == (
            ["^", "m_B", "ow_E", "m_B", "ow_E", "."]
        )
    finally:
        ask_flite.cache_clear()


def test_lexicon_survives_its_file(lexicon: Lexicon, tmp_path) -> None:
    lexicon.save(tmp_path / "lexicon.json")
    again = Lexicon.load(tmp_path / "lexicon.json")
    assert (again.words, again.before_vowel) == (lexicon.words, lexicon.before_vowel)


@pytest.mark.parametrize("content", [None, "{", '{"words": {}}'])
def test_a_damaged_lexicon_is_named(content: str | None, tmp_path) -> None:
    path = tmp_path / "lexicon.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ParleyError, match=r"lexicon\.json.*export"):
        Lexicon.load(path)


def test_symbols_are_the_phones_in_their_four_places() -> None:
    assert len(SYMBOLS) == 1 + len(tts_text.PAUSES) + 4 * len(SPOKEN) == len(set(SYMBOLS))
