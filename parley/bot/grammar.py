"""What callers say, from the phrases of a bot: drawn utterances to train on, and a word graph to decode with."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from parley.bot.slots import draw_value, spoken_form
from parley.bot.spec import Bot
from parley.bot.template import Alt, AnyOrder, ListRef, Node, Opt, Seq, SlotRef, Text
from parley.language.digits import DigitWords


@dataclass(frozen=True)
class GraphBounds:
    """What the word graph of a bot's phrases may cost."""

    states: int = 50_000
    """Before it is made small."""
    steps: int = 5_000_000
    """Arcs looked at while it is made: a second or two."""


BOUNDS = GraphBounds()


class TooLarge(ValueError):
    """Phrases whose word graph cannot be made within bounds; the text has the figure."""


@dataclass(frozen=True)
class Span:
    """A slot in an utterance: words ``[start_word, end_word)`` said ``value`` (canonical)."""

    slot: str
    start_word: int
    end_word: int
    value: str


@dataclass(frozen=True)
class Utterance:
    """One thing a caller may say, and what it means."""

    text: str
    intent: str
    slots: dict[str, str]
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class WordGraph:
    """A deterministic, minimal acceptor of word sequences: every arc ``(source, target, word)``."""

    n_states: int
    start: int
    finals: frozenset[int]
    arcs: tuple[tuple[int, int, str], ...]

    def accepts(self, words: Sequence[str]) -> bool:
        """Whether the graph has a path of exactly these words."""
        step = {(source, word): target for source, target, word in self.arcs}
        state: int | None = self.start
        for word in words:
            state = step.get((state, word)) if state is not None else None
        return state is not None and state in self.finals


class Grammar:
    """The phrases of a bot (of ``intents``, or of all)."""

    def __init__(self, bot: Bot, intents: Iterable[str] | None = None) -> None:
        self.bot = bot
        self.intents = list(intents) if intents is not None else list(bot.intents)
        self._graph: WordGraph | None = None

    def sample(self, rng: random.Random) -> Utterance:
        """Draw an utterance: a task's intent half of the time, then a phrase, then its parts, uniformly."""
        tasks = [i for i in self.intents if i in self.bot.dialogue.tasks]
        intent = rng.choice(tasks) if tasks and rng.random() < 0.5 else rng.choice(self.intents)
        return self.sample_intent(intent, rng)

    def sample_intent(self, intent: str, rng: random.Random) -> Utterance:
        """Draw an utterance of one intent."""
        words: list[str] = []
        spans: list[Span] = []
        self._draw(rng.choice(self.bot.phrase_nodes[intent]), rng, words, spans)
        return Utterance(" ".join(words), intent, {s.slot: s.value for s in spans}, tuple(spans))

    def _draw(self, node: Node, rng: random.Random, words: list[str], spans: list[Span]) -> None:
        if isinstance(node, Text):
            words.append(node.text)
        elif isinstance(node, SlotRef):
            spec = self.bot.slots[node.name]
            value = draw_value(spec, rng)
            said = spoken_form(spec, value, self.bot.speech, rng).split()
            spans.append(Span(node.name, len(words), len(words) + len(said), value))
            words.extend(said)
        elif isinstance(node, ListRef):
            self._draw(self.bot.list_nodes[node.name], rng, words, spans)
        elif isinstance(node, Alt):
            self._draw(rng.choice(node.items), rng, words, spans)
        elif isinstance(node, Opt):
            if rng.random() < 0.5:
                self._draw(node.item, rng, words, spans)
        elif isinstance(node, AnyOrder):
            chosen = [item for item in node.items if rng.random() < 0.5]
            rng.shuffle(chosen)
            for item in chosen:
                self._draw(item, rng, words, spans)
        else:
            for item in node.items:
                self._draw(item, rng, words, spans)

    def words(self) -> list[str]:
        """The vocabulary, sorted."""
        return sorted({word for _, _, word in self.network().arcs})

    def network(self) -> WordGraph:
        """The word graph of all phrases (made once)."""
        if self._graph is None:
            builder = _Builder(self.bot)
            start, end = builder.state(), builder.state()
            for intent in self.intents:
                for node in self.bot.phrase_nodes[intent]:
                    builder.add(node, start, end)
            self._graph = _minimal(_deterministic(builder, start, end))
        return self._graph

    def accepts(self, text: str) -> bool:
        """Whether the bot's phrases allow ``text``."""
        return self.network().accepts(text.split())


@dataclass
class _Builder:
    """Thompson's construction: a nondeterministic graph with empty arcs (word None)."""

    bot: Bot
    arcs: dict[int, list[tuple[str | None, int]]] = field(default_factory=lambda: defaultdict(list))
    counter: count[int] = field(default_factory=count)

    def state(self) -> int:
        return next(self.counter)

    def add(self, node: Node, source: int, target: int) -> None:
        if isinstance(node, Text):
            self.arcs[source].append((node.text, target))
        elif isinstance(node, SlotRef):
            self._add_slot(node.name, source, target)
        elif isinstance(node, ListRef):
            self.add(self.bot.list_nodes[node.name], source, target)
        elif isinstance(node, Alt):
            for item in node.items:
                self.add(item, source, target)
        elif isinstance(node, Opt):
            self.arcs[source].append((None, target))
            self.add(node.item, source, target)
        elif isinstance(node, Seq):
            for item in node.items[:-1]:
                middle = self.state()
                self.add(item, source, middle)
                source = middle
            self.add(node.items[-1], source, target)
        else:
            self._add_any_order(node, source, target)

    def _add_words(self, words: Sequence[str], source: int, target: int) -> None:
        for word in words[:-1]:
            middle = self.state()
            self.arcs[source].append((word, middle))
            source = middle
        self.arcs[source].append((words[-1] if words else None, target))

    def _add_slot(self, name: str, source: int, target: int) -> None:
        spec = self.bot.slots[name]
        if spec.type == "values":
            for variants in spec.values.values():
                for variant in variants:
                    self._add_words(variant.split(), source, target)
        else:
            self._add_digits(spec.digits_min, spec.digits_max, source, target)

    def _add_digits(self, fewest: int, most: int, source: int, target: int) -> None:
        # A state per number of digits said: the loop is counted, and grows with its length, not with its strings.
        said, words = [source, *(self.state() for _ in range(most))], self.bot.speech.digits
        for count_said, state in enumerate(said):
            if count_said >= fewest:
                self.arcs[state].append((None, target))
            for way, digits in words.said.items():
                if count_said + len(digits) <= most:
                    self._add_words(way, state, said[count_said + len(digits)])
            for word, times in words.repeats.items():
                if count_said + times <= most:
                    before = self.state()
                    self.arcs[state].append((word, before))
                    for digit in words.single:
                        self._add_words(digit.split(), before, said[count_said + times])

    def _add_any_order(self, node: AnyOrder, source: int, target: int) -> None:
        # One state per subset already said: 2^n of them, which is why the file allows six items at most.
        subset_state = {mask: (source if mask == 0 else self.state()) for mask in range(1 << len(node.items))}
        for mask, state in subset_state.items():
            self.arcs[state].append((None, target))
            for index, item in enumerate(node.items):
                if not mask >> index & 1:
                    self.add(item, state, subset_state[mask | 1 << index])


def digits_arcs(words: DigitWords) -> int:
    """Arcs of the word graph, before it is made small, at each place of a slot of digits."""
    single = sum(len(way.split()) for way in words.single)
    return 1 + sum(map(len, words.said)) + len(words.repeats) * (1 + single)


@dataclass
class _Subsets:
    """Subset construction over a nondeterministic graph, within bounds. A state of it is a set of the graph's."""

    builder: _Builder
    bounds: GraphBounds = BOUNDS
    states: int = 0
    steps: int = 0

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        """The states, and what empty arcs reach from them."""
        reached, todo = set(states), list(states)
        while todo:
            arcs = self.builder.arcs[todo.pop()]
            self.steps += len(arcs) + 1
            for word, target in arcs:
                if word is None and target not in reached:
                    reached.add(target)
                    todo.append(target)
        return frozenset(reached)

    def moves(self, states: frozenset[int]) -> Iterator[tuple[str, frozenset[int]]]:
        """Each next word with where it leads, by word.

        Raises:
            TooLarge: more states or work than allowed so far.
        """
        self.states += 1
        most = self.bounds
        if self.states > most.states or self.steps > most.steps:
            what = f"{most.states:,} states" if self.states > most.states else f"{most.steps:,} steps"
            raise TooLarge(f"the phrases' word graph needs more than {what}")
        found: dict[str, set[int]] = defaultdict(set)
        for state in states:
            for word, target in self.builder.arcs[state]:
                if word is not None:
                    found[word].add(target)
        for word in sorted(found):
            yield word, self.closure(found[word])


_Dfa = tuple[list[dict[str, int]], set[int]]


def _deterministic(builder: _Builder, start: int, end: int) -> _Dfa:
    """Subset construction; state 0 is the start."""
    subsets = _Subsets(builder)
    first = subsets.closure([start])
    number = {first: 0}
    table: list[dict[str, int]] = [{}]
    finals: set[int] = set()
    todo = [first]
    while todo:
        states = todo.pop()
        if end in states:
            finals.add(number[states])
        for word, following in subsets.moves(states):
            if following not in number:
                number[following] = len(table)
                table.append({})
                todo.append(following)
            table[number[states]][word] = number[following]
    return table, finals


_State = TypeVar("_State")
Phrase = tuple[str, int]
"""An intent, and the place of one of its phrases."""


def shared_sentences(bot: Bot, bounds: GraphBounds = BOUNDS) -> list[tuple[str, Phrase, Phrase]]:
    """For every two intents that allow one sentence: a shortest such sentence, and a phrase of each that allows it.

    Exact: all phrases are followed together, word by word, breadth first.

    Raises:
        TooLarge: there is too much to compare.
    """
    builder = _Builder(bot)
    start = builder.state()
    ends: dict[int, Phrase] = {}
    for intent, nodes in bot.phrase_nodes.items():
        for place, node in enumerate(nodes):
            ends[end := builder.state()] = (intent, place)
            builder.add(node, start, end)
    subsets = _Subsets(builder, bounds)
    first = subsets.closure([start])
    said: dict[frozenset[int], tuple[frozenset[int], str] | None] = {first: None}
    found: dict[tuple[str, str], tuple[str, Phrase, Phrase]] = {}
    todo = deque([first])
    while todo:
        states = todo.popleft()
        phrases = {ends[state][0]: ends[state] for state in sorted(ends.keys() & states, reverse=True)}
        for one in phrases:
            for other in phrases:
                if one != other and (one, other) not in found and (other, one) not in found:
                    pair = sorted((phrases[one], phrases[other]), key=lambda p: list(bot.intents).index(p[0]))
                    found[one, other] = (_sentence(said, states), pair[0], pair[1])
        for word, following in subsets.moves(states):
            if following not in said:
                said[following] = (states, word)
                todo.append(following)
    return list(found.values())


def _sentence(said: Mapping[_State, tuple[_State, str] | None], state: _State) -> str:
    """The words that led to a state."""
    words: list[str] = []
    while (step := said[state]) is not None:
        state, word = step
        words.append(word)
    return " ".join(reversed(words))


def beyond(mine: WordGraph, theirs: WordGraph) -> str | None:
    """A shortest sentence that one graph accepts and another does not, None where it accepts no more."""
    steps: list[dict[int, dict[str, int]]] = []
    for graph in (mine, theirs):
        step: dict[int, dict[str, int]] = defaultdict(dict)
        for source, target, word in graph.arcs:
            step[source][word] = target
        steps.append(step)
    first: tuple[int, int | None] = (mine.start, theirs.start)
    said: dict[tuple[int, int | None], tuple[tuple[int, int | None], str] | None] = {first: None}
    todo = deque([first])
    while todo:
        here = todo.popleft()
        if here[0] in mine.finals and here[1] not in theirs.finals:
            return _sentence(said, here)
        others = steps[1].get(here[1], {}) if here[1] is not None else {}
        for word, target in sorted(steps[0].get(here[0], {}).items()):
            following = (target, others.get(word))
            if following not in said:
                said[following] = (here, word)
                todo.append(following)
    return None


def _minimal(dfa: _Dfa) -> WordGraph:
    """Moore's partition refinement: states that accept the same continuations become one."""
    table, finals = dfa
    block = [1 if state in finals else 0 for state in range(len(table))]
    n_blocks = len(set(block))
    while True:
        signatures: dict[tuple[object, ...], int] = {}
        refined = []
        for state, moves in enumerate(table):
            key = (block[state], *((word, block[target]) for word, target in sorted(moves.items())))
            refined.append(signatures.setdefault(key, len(signatures)))
        if len(signatures) == n_blocks:
            break
        block, n_blocks = refined, len(signatures)
    arcs = {(block[s], block[t], word) for s, moves in enumerate(table) for word, t in moves.items()}
    return WordGraph(n_blocks, block[0], frozenset(block[s] for s in finals), tuple(sorted(arcs)))
