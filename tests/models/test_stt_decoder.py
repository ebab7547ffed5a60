"""The grammar decoder against brute force, and its behaviour on good, bad and no speech."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.stt.decoder import GrammarDecoder, PhoneGraph
from parley.bot.grammar import WordGraph
from parley.errors import ParleyError

LABELS = ("", "a", "b", "c")
LEXICON = {"ab": ["a b"], "aa": ["a a"], "ca": ["c a", "c"]}
# ab | ab ca | aa ca
GRAPH = WordGraph(4, 0, frozenset({1, 3}), ((0, 1, "ab"), (0, 2, "aa"), (1, 3, "ca"), (2, 3, "ca")))
SENTENCES = {"ab": ["a b"], "ab ca": ["a b c a", "a b c"], "aa ca": ["a a c a", "a a c"]}


def _log_softmax(x: np.ndarray) -> np.ndarray:
    return (x - np.log(np.exp(x).sum(axis=1, keepdims=True))).astype(np.float32)


def _collapse(path: tuple[int, ...]) -> str:
    return " ".join(LABELS[label] for label, _ in itertools.groupby(path) if label)


def _brute_force(log_probs: np.ndarray, sentences: dict[str, list[str]]) -> float:
    """Best CTC path over every label sequence that collapses to a sentence."""
    allowed = {form for forms in sentences.values() for form in forms}
    best = -np.inf
    for path in itertools.product(range(len(LABELS)), repeat=len(log_probs)):
        if _collapse(path) in allowed:
            best = max(best, float(sum(log_probs[t, label] for t, label in enumerate(path))))
    return best


def _rows_of(lexicon: dict[str, list[str]], most: int) -> dict[str, list[str]]:
    """Sentences of no word to ``most`` words in any order."""
    rows = (row for n in range(most + 1) for row in itertools.product(lexicon, repeat=n))
    return {" ".join(row): [" ".join(forms) for forms in itertools.product(*(lexicon[w] for w in row))] for row in rows}


# Words that end in what others begin with, as "zero" and "oh" do; the second graph comes back to its start.
ROWS = {"a": ["a"], "ca": ["c a"], "ab": ["a b"]}
CHAIN = WordGraph(4, 0, frozenset(range(4)), tuple((q, q + 1, word) for q in range(3) for word in ROWS))
LOOP = WordGraph(1, 0, frozenset({0}), tuple((0, 0, word) for word in ROWS))


@pytest.mark.parametrize(
    ("graph", "lexicon", "sentences"),
    [(GRAPH, LEXICON, SENTENCES), (CHAIN, ROWS, _rows_of(ROWS, 3)), (LOOP, ROWS, _rows_of(ROWS, 6))],
)
@given(frames=st.integers(3, 6), seed=st.integers(0, 2**31))
def test_the_score_is_the_best_of_all_paths(
    graph: WordGraph, lexicon: dict[str, list[str]], sentences: dict[str, list[str]], frames: int, seed: int
) -> None:
    log_probs = _log_softmax(np.random.default_rng(seed).normal(0, 2, (frames, len(LABELS))))
    decoder = GrammarDecoder(PhoneGraph.compile(graph, lexicon, LABELS))
    decoder.accept(log_probs)

    result, best = decoder.finish(), _brute_force(log_probs, sentences)
    if best == -np.inf:
        assert not result.complete
    else:
        assert result.complete and result.text in sentences
        assert result.score == pytest.approx(best, abs=1e-3)


def test_a_phone_said_once_does_not_end_one_word_and_begin_the_next() -> None:
    decoder = GrammarDecoder(PhoneGraph.compile(CHAIN, ROWS, LABELS))
    decoder.accept(_spoken("c a"))

    assert decoder.finish().text == "ca"
    again = GrammarDecoder(PhoneGraph.compile(CHAIN, ROWS, LABELS))
    again.accept(_spoken("c a a"))
    assert again.finish().text == "ca a"


@given(st.integers(1, 40), st.integers(0, 2**31), st.integers(1, 7))
def test_any_chunking_gives_the_same_result(frames: int, seed: int, step: int) -> None:
    log_probs = _log_softmax(np.random.default_rng(seed).normal(0, 3, (frames, len(LABELS))))
    graph = PhoneGraph.compile(GRAPH, LEXICON, LABELS)
    whole, pieces = GrammarDecoder(graph), GrammarDecoder(graph)

    whole.accept(log_probs)
    for start in range(0, frames, step):
        pieces.accept(log_probs[start : start + step])
        pieces.partial()  # looking must not disturb

    assert whole.finish() == pieces.finish()


def _spoken(phones: str, frames_each: int = 3) -> np.ndarray:
    """Scores of somebody saying ``phones`` clearly, with silence around."""
    path = [0, 0]
    for phone in phones.split():
        path += [LABELS.index(phone)] * frames_each + [0]
    scores = np.full((len(path) + 2, len(LABELS)), -6.0)
    for t, label in enumerate([*path, 0, 0]):
        scores[t, label] = 0.0
    return _log_softmax(scores)


def test_words_come_with_their_frames_in_order() -> None:
    decoder = GrammarDecoder(PhoneGraph.compile(GRAPH, LEXICON, LABELS))
    decoder.accept(_spoken("a b c a"))
    words = decoder.finish().words

    assert [w.word for w in words] == ["ab", "ca"]
    assert 2 <= words[0].start < words[0].end <= words[1].start < words[1].end
    assert words[0].end <= 10


def test_speech_outside_the_grammar_fits_worse_than_speech_inside() -> None:
    graph = PhoneGraph.compile(GRAPH, LEXICON, LABELS)
    inside, outside = GrammarDecoder(graph), GrammarDecoder(graph)
    inside.accept(_spoken("a b c a"))
    outside.accept(_spoken("b c b b"))

    assert inside.finish().margin > -0.1 > -1.0 > outside.finish().margin


def test_nothing_heard_is_no_words() -> None:
    decoder = GrammarDecoder(PhoneGraph.compile(GRAPH, LEXICON, LABELS))

    assert decoder.partial().text == "" and decoder.finish().text == ""


def test_a_word_without_a_pronunciation_is_named() -> None:
    with pytest.raises(ParleyError, match="'ca'"):
        PhoneGraph.compile(GRAPH, {"ab": ["a b"], "aa": ["a a"]}, LABELS)
    with pytest.raises(ParleyError, match="unknown phone"):
        PhoneGraph.compile(GRAPH, {**LEXICON, "ca": ["c zz"]}, LABELS)
