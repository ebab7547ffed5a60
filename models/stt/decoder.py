"""Grammar decoding of CTC scores: exact Viterbi over the phones of every sentence the bot's phrases allow.

The word graph of a bot and its lexicon become one flat graph of phone and blank states (the CTC topology of Graves
et al. 2006). A step for one frame is a handful of numpy gathers over all states, so decoding keeps up with the call
and its partial result is always the best path so far. Torch-free: this runs where calls are served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parley.bot.grammar import WordGraph
from parley.errors import ParleyError

_NEVER = np.float32(-1e30)


@dataclass(frozen=True)
class DecodedWord:
    """A word and the frames ``[start, end)`` it takes."""

    word: str
    start: int
    end: int


@dataclass(frozen=True)
class Decoded:
    """The best path so far."""

    words: tuple[DecodedWord, ...]
    score: float
    """Log-probability of the path."""
    free_score: float
    """Log-probability of the best path without a grammar: how well anything at all could explain the frames."""
    phones: int
    """Phones on the path without a grammar."""
    complete: bool
    """Whether the path is a whole sentence of the grammar."""

    @property
    def text(self) -> str:
        return " ".join(w.word for w in self.words)

    @property
    def margin(self) -> float:
        """Log-likelihood ratio a phone of grammar against no grammar: 0 fits perfectly, other speech falls below."""
        return (self.score - self.free_score) / max(1, self.phones)


@dataclass(frozen=True)
class PhoneGraph:
    """The compiled graph. Index ``n_states + q`` is junction ``q``, the index after the last is "from nowhere".

    The first junctions are the states of the word graph. Each further one is such a state as a word sees it whose first
    phone may also have been the last of the word before: CTC writes a phone twice only with a blank in between.
    """

    label: NDArray[np.int64]  # [states] CTC label
    previous: NDArray[np.int64]  # [2, states] where a state may be entered from, beside itself
    word: NDArray[np.int64]  # [states] index into words, -1 for blanks between words
    arrivals: NDArray[np.int64]  # states that lead into a junction, grouped by junction
    group: NDArray[np.int64]  # [junctions] first index of each group
    group_of: NDArray[np.int64]  # [arrivals] the junction
    positions: NDArray[np.int64]  # [arrivals] 0, 1, 2 ...
    starts: NDArray[np.int64]  # junctions where a sentence begins
    finals: NDArray[np.int64]
    words: tuple[str, ...]

    @property
    def n_states(self) -> int:
        return len(self.label)

    @classmethod
    def compile(cls, graph: WordGraph, lexicon: dict[str, list[str]], labels: Sequence[str]) -> PhoneGraph:
        """Build the graph.

        Args:
            graph: sentences, as words.
            lexicon: word to its pronunciations, phones separated by spaces.
            labels: CTC labels, the blank first.

        Raises:
            ParleyError: a word has no pronunciation, or a pronunciation an unknown phone.
        """
        index = {phone: i for i, phone in enumerate(labels)}
        words = sorted({w for _, _, w in graph.arcs})
        word_index = {w: i for i, w in enumerate(words)}
        build = _Arrays()
        into: list[list[int]] = [[] for _ in range(graph.n_states)]
        for junction in range(graph.n_states):
            # Silence between words: entered from the junction, left to it.
            into[junction].append(build.state(0, -1, ~junction, None))
        for source, target, word in graph.arcs:
            if word not in lexicon:
                raise ParleyError(f"no pronunciation of {word!r}", where="lexicon", mend="export the model again")
            for form in lexicon[word]:
                unknown = [p for p in form.split() if p not in index]
                if unknown or not form:
                    raise ParleyError(f"unknown phone in {form!r} of {word!r}", where="lexicon")
                into[target].append(build.word([index[p] for p in form.split()], word_index[word], source))
        starts = [graph.start, *build.part_equal_phones(into, graph.start)]
        n = len(build.label)
        nowhere = n + len(into)
        previous = np.array(
            [[nowhere if p is None else (n + ~p if p < 0 else p) for p in side] for side in (build.first, build.second)]
        )
        arrivals = np.array([state for group in into for state in group])
        sizes = [len(group) for group in into]
        return cls(
            label=np.array(build.label),
            previous=previous,
            word=np.array(build.word_of),
            arrivals=arrivals,
            group=np.cumsum([0, *sizes[:-1]]),
            group_of=np.repeat(np.arange(len(into)), sizes),
            positions=np.arange(len(arrivals)),
            starts=np.array(starts),
            finals=np.array(sorted(graph.finals)),
            words=tuple(words),
        )


class _Arrays:
    """Grows the state arrays; a negative predecessor ``~q`` is junction ``q``."""

    def __init__(self) -> None:
        self.label: list[int] = []
        self.word_of: list[int] = []
        self.first: list[int | None] = []
        self.second: list[int | None] = []

    def state(self, label: int, word: int, first: int | None, second: int | None) -> int:
        self.label.append(label)
        self.word_of.append(word)
        self.first.append(first)
        self.second.append(second)
        return len(self.label) - 1

    def word(self, phones: list[int], word: int, source: int) -> int:
        """Phone states with an optional blank between neighbours (a must between equal ones); the last state."""
        last = self.state(phones[0], word, ~source, None)
        for before, phone in zip(phones, phones[1:], strict=False):
            blank = self.state(0, word, last, None)
            last = self.state(phone, word, blank, None if phone == before else last)
        return last

    def part_equal_phones(self, into: list[list[int]], start: int) -> list[int]:
        """Give words their own junction where the word before may end in the phone they begin with: without that word.

        Args:
            into: a junction's arrivals; the new junctions are added.
            start: the junction where sentences begin.

        Returns:
            The new junctions that stand for ``start``.
        """
        made: dict[tuple[int, int], int] = {}
        for state, source in enumerate(self.first):
            phone = self.label[state]
            if source is None or source >= 0 or not phone:
                continue
            arrivals = into[~source]
            if all(self.label[a] != phone for a in arrivals):
                continue
            if (~source, phone) not in made:
                made[~source, phone] = len(into)
                into.append([a for a in arrivals if self.label[a] != phone])
            self.first[state] = ~made[~source, phone]
        return [junction for (source, _), junction in made.items() if source == start]


class GrammarDecoder:
    """Viterbi search for one utterance; feed it scores as they come."""

    def __init__(self, graph: PhoneGraph) -> None:
        self._graph = graph
        n, q = graph.n_states, len(graph.group)
        self._scores = np.full(n + q + 1, _NEVER, dtype=np.float32)
        self._scores[n + graph.starts] = 0.0
        self._choices: list[NDArray[np.uint8]] = []  # a frame: 0 stayed, 1 or 2 which predecessor
        self._best_arrival: list[NDArray[np.int64]] = []  # a frame: the state each junction was reached from
        self._free_score = 0.0
        self._phones = 0
        self._last_label = 0

    @property
    def frames(self) -> int:
        """Frames seen."""
        return len(self._choices)

    def accept(self, log_probs: NDArray[np.float32]) -> None:
        """Search on through ``[frames, labels]`` natural log-probabilities."""
        graph, n = self._graph, self._graph.n_states
        for frame in log_probs:
            stay = self._scores[:n]
            first, second = self._scores[graph.previous[0]], self._scores[graph.previous[1]]
            choice = (first > stay).view(np.uint8)
            best_score = np.maximum(stay, first)
            choice[second > best_score] = 2
            np.maximum(best_score, second, out=best_score)
            np.add(best_score, frame[graph.label], out=self._scores[:n])
            self._choices.append(choice)
            self._best_arrival.append(self._close_junctions())
            best = int(np.argmax(frame))
            self._free_score += float(frame[best])
            self._phones += best != 0 and best != self._last_label
            self._last_label = best

    def _close_junctions(self) -> NDArray[np.int64]:
        """Best arrival at every junction after this frame; its state is remembered for the trace."""
        graph, n = self._graph, self._graph.n_states
        arriving = self._scores[graph.arrivals]
        best = np.maximum.reduceat(arriving, graph.group)
        self._scores[n:-1] = best
        # First arrival equal to its group's best: positions are ascending, so reduce by minimum.
        position = np.where(arriving == best[graph.group_of], graph.positions, len(arriving))
        return np.asarray(graph.arrivals[np.minimum.reduceat(position, graph.group)])

    def partial(self) -> Decoded:
        """The best path so far, whether or not a sentence ends here."""
        return self._decoded(int(np.argmax(self._scores[: self._graph.n_states])), complete=False)

    def finish(self) -> Decoded:
        """The best whole sentence; the best path so far if no sentence fits at all."""
        graph, n = self._graph, self._graph.n_states
        finals = self._scores[n + graph.finals]
        if not self._choices or float(np.max(finals, initial=_NEVER)) <= float(_NEVER) / 2:
            return self.partial()
        junction = int(graph.finals[int(np.argmax(finals))])
        return self._decoded(int(self._best_arrival[-1][junction]), complete=True)

    def _decoded(self, state: int, *, complete: bool) -> Decoded:
        score = float(self._scores[state]) if self._choices else 0.0
        words = tuple(self._trace(state)) if self._choices else ()
        return Decoded(words, score, self._free_score, self._phones, complete)

    def _trace(self, state: int) -> list[DecodedWord]:
        graph, n = self._graph, self._graph.n_states
        words: list[DecodedWord] = []
        end = 0
        for t in range(len(self._choices) - 1, -1, -1):
            if graph.word[state] >= 0 and not end:
                end = t + 1
            choice = self._choices[t][state]
            if choice == 0:
                continue
            before = int(graph.previous[choice - 1, state])
            if before < n:
                state = before
                continue
            if graph.word[state] >= 0:  # a word begins here
                words.append(DecodedWord(graph.words[graph.word[state]], t, end))
                end = 0
            if t == 0:
                break
            state = int(self._best_arrival[t - 1][before - n])
        return words[::-1]
