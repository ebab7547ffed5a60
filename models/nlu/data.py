"""Sentences to train and test the NLU, drawn from a bot's phrases; no recordings and no other corpus.

Three kinds of rows: utterances of the bot's grammar, the same with the errors a recogniser makes, and sentences the
bot has nothing to say to. Whether an utterance is training or test is decided by a hash of its clean words, so that a
test sentence is never in training, noisy or not. Intents without slots have few sentences; all of them are training,
and their test rows are the ones that fillers make new.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from dataclasses import dataclass, replace

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from parley.bot.grammar import Grammar, Span, Utterance
from parley.bot.spec import Bot
from parley.files import sha256_json
from parley.language import Language
from parley.language.contract import CallersSpeech

OUT_OF_SCOPE = "out_of_scope"
"""The label beside the bot's intents."""
OUTSIDE = "O"
MAX_TOKENS = 64
"""Longest sentence in word pieces; what a caller says after that is not read."""
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Example:
    """One row: words, a BIO tag for each, the intent, and the canonical slot values."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    intent: str
    slots: tuple[tuple[str, str], ...]
    group: str
    """``clean``, ``noisy`` or ``out_of_scope``."""

    @property
    def text(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class Sizes:
    """Rows drawn for each split, before duplicates are dropped (training keeps them)."""

    train: int = 16000
    valid: int = 1500
    test: int = 3000
    out_of_scope_share: float = 0.2
    noisy_share: float = 0.4

    @classmethod
    def of(cls, train: int) -> Sizes:
        """The sizes of a run that trains on so many rows."""
        return cls(train=train, valid=min(cls.valid, train), test=min(cls.test, train))


@dataclass(frozen=True)
class NluData:
    """The three splits of a bot and the labels they use."""

    train: list[Example]
    valid: list[Example]
    test: list[Example]
    intents: list[str]
    tags: list[str]

    @property
    def digest(self) -> str:
        """SHA-256 over every row: names the dataset."""
        return sha256_json(
            [[(e.words, e.tags, e.intent) for e in part] for part in (self.train, self.valid, self.test)]
        )


def make_data(bot: Bot, seed: int, sizes: Sizes = Sizes()) -> NluData:
    """Draw the splits. The same bot, seed and sizes give the same rows."""
    tags = [OUTSIDE] + [f"{mark}-{slot}" for slot in bot.slots for mark in "BI"]
    outside = OutOfScope(bot)
    train, valid, test = (_draw_split(bot, outside, split, seed, sizes) for split in SPLITS)
    # Without slots an intent has a handful of sentences, which all are training: drop test rows that met them.
    seen = {e.text for e in train}
    valid, test = ([e for e in part if e.text not in seen] for part in (valid, test))
    return NluData(train, _unique(valid), _unique(test), [*bot.intents, OUT_OF_SCOPE], tags)


def split_of(key: str) -> str:
    """The split a sentence belongs to: 80 % training, 8 % validation, 12 % test, by hash."""
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return "train" if share < 0.8 else "valid" if share < 0.88 else "test"


def _draw_split(bot: Bot, outside: OutOfScope, split: str, seed: int, sizes: Sizes) -> list[Example]:
    rng = random.Random(f"nlu/{bot.name}/{seed}/{split}")
    grammar = Grammar(bot)
    rows: list[Example] = []
    for _ in range(getattr(sizes, split)):
        if rng.random() < sizes.out_of_scope_share:
            words = tuple(outside.sample(split, rng).split())[:30]
            rows.append(Example(words, (OUTSIDE,) * len(words), OUT_OF_SCOPE, (), "out_of_scope"))
            continue
        utterance = grammar.sample(rng)
        for _ in range(200):
            if not utterance.spans or split_of(utterance.text) == split:
                break
            utterance = grammar.sample_intent(utterance.intent, rng)
        # Sentences without slots are new to the test only with fillers around them.
        forced = split != "train" and not utterance.spans
        noisy = forced or rng.random() < sizes.noisy_share
        rows.append(noise(bot, utterance, rng) if noisy else example(utterance, "clean"))
    return rows


def _unique(rows: list[Example]) -> list[Example]:
    return list({row.text: row for row in rows}.values())


def example(utterance: Utterance, group: str) -> Example:
    """An utterance with its spans as BIO tags over its words."""
    words = utterance.text.split()
    tags = [OUTSIDE] * len(words)
    for span in utterance.spans:
        for at in range(span.start_word, span.end_word):
            tags[at] = f"{'B' if at == span.start_word else 'I'}-{span.slot}"
    return Example(tuple(words), tuple(tags), utterance.intent, tuple(sorted(utterance.slots.items())), group)


def noise(bot: Bot, utterance: Utterance, rng: random.Random) -> Example:
    """What a recogniser makes of an utterance: fillers, lost and doubled small words, a wrong word between the slots.

    Words of a slot stay, so that the labels stay true; the wrong word hits task intents only, whose other words and
    slots still tell what was meant.
    """
    clean, callers = example(utterance, "noisy"), bot.speech.callers
    pairs = list(zip(clean.words, clean.tags, strict=True))
    kept: list[tuple[str, str]] = []
    for word, tag in pairs:
        if tag == OUTSIDE and word in callers.droppable and len(pairs) > 2 and rng.random() < 0.25:
            continue
        kept.append((word, tag))
        if tag == OUTSIDE and rng.random() < 0.06:
            kept.append((word, tag))
    free = [i for i, (_, tag) in enumerate(kept) if tag == OUTSIDE]
    if utterance.intent in bot.dialogue.tasks and utterance.spans and len(free) >= 3 and rng.random() < 0.3:
        at = rng.choice(free)
        kept[at] = (_misheard(kept[at][0], bot.speech.letters.small, rng), OUTSIDE)
    if rng.random() < 0.45 or not utterance.spans:
        kept = [(w, OUTSIDE) for w in rng.choice(callers.before).split()] + kept
    if rng.random() < 0.35:
        kept += [(w, OUTSIDE) for w in rng.choice(callers.after).split()]
    words, tags = zip(*kept, strict=True)
    return replace(clean, words=words, tags=tags)


def _misheard(word: str, letters: str, rng: random.Random) -> str:
    at = rng.randrange(len(word))
    letter = rng.choice(letters)
    return rng.choice([word[:at] + letter + word[at + 1 :], word[:at] + word[at + 1 :] or letter, letter + word])


class OutOfScope:
    """Draws sentences that mean nothing to a bot: the open corpus and what can be mixed from it, and gibberish."""

    def __init__(self, bot: Bot) -> None:
        grammar = Grammar(bot)
        self._callers = bot.speech.callers
        lines = [line.strip() for line in self._callers.elsewhere.read_text(encoding="utf-8").splitlines()]
        self.lines = [line for line in lines if line and not line.startswith("#") and not grammar.accepts(line)]
        self._grammar = grammar
        spoken = {
            word for spec in bot.slots.values() for said in spec.values.values() for s in said for word in s.split()
        }
        if any(spec.type == "digits" for spec in bot.slots.values()):
            spoken |= bot.speech.digits.vocabulary
        # Words that carry a request but no value: shuffled, they sound like the bot's domain and say nothing.
        self._carriers = sorted(set(grammar.words()) - spoken)

    def sample(self, split: str, rng: random.Random) -> str:
        """One sentence of a split; the lines of the corpus are dealt to the splits by hash."""
        lines = [line for line in self.lines if split_of(line) == split] or self.lines
        while True:
            sentence = self._draw(lines, rng)
            if not self._grammar.accepts(sentence):
                return sentence

    def _draw(self, lines: list[str], rng: random.Random) -> str:
        kind = rng.random()
        line = rng.choice(lines).split()
        if kind < 0.4:
            return " ".join(line)
        if kind < 0.6:  # The head of one sentence and the tail of another.
            other = rng.choice(lines).split()
            return " ".join(line[: rng.randint(1, len(line))] + other[rng.randrange(len(other)) :])
        if kind < 0.85:  # A sentence whose content words are unknown: names, places, things of any other domain.
            return " ".join(w if len(w) <= 3 and rng.random() < 0.8 else pseudo_word(self._callers, rng) for w in line)
        if kind < 0.92:
            words = rng.choices(self._carriers, k=rng.randint(1, 3)) + rng.sample(line, min(len(line), 3))
            rng.shuffle(words)
            return " ".join([*words, pseudo_word(self._callers, rng)])
        return " ".join(pseudo_word(self._callers, rng) for _ in range(rng.randint(1, 5)))


def pseudo_word(callers: CallersSpeech, rng: random.Random) -> str:
    """Something that could be a word: one to three syllables of the language's letters."""
    syllables = [rng.choice(callers.onsets) + rng.choice(callers.nuclei) for _ in range(rng.randint(1, 3))]
    return "".join(syllables) + rng.choice(callers.codas)


def make_tokenizer(bot: Bot, train: list[Example], vocabulary: int = 1200) -> Tokenizer:
    """Word pieces of the training rows, with every letter a piece: no word is unknown.

    All words of the bot's grammar are pieces of their own, so that rare values are not spelt. The pieces are counted
    here and ties go by the alphabet: the trainers of `tokenizers` break ties by hash order, so that the same rows gave
    another vocabulary in each process, and a resumed run would not have been the run it resumed.
    """
    tokenizer = Tokenizer(models.WordPiece(vocab={"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.normalizer = _normalizer(bot.speech)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece()
    letters = f"{bot.speech.letters.small}0123456789{bot.speech.letters.inner}"
    pieces = ["[PAD]", "[UNK]", *letters, *(f"##{letter}" for letter in letters), *Grammar(bot).words()]
    known = dict.fromkeys(pieces)
    counts = Counter(word for row in train for word in row.words)
    for piece in _most_frequent(counts, vocabulary // 2) + _most_frequent(_parts(counts), vocabulary):
        if len(known) < vocabulary or piece in known:
            known[piece] = None
    vocab = {piece: i for i, piece in enumerate(known)}
    tokenizer.model = models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=40)
    return tokenizer


def _normalizer(language: Language) -> normalizers.Normalizer:
    """Sentences as phrases are written: small letters of the language, figures, and marks inside words; any other sign
    parts words."""
    letters = language.letters
    accents = [normalizers.NFKD(), normalizers.StripAccents()] if letters.drops_accents else [normalizers.NFKC()]
    silent = [normalizers.Replace(mark, "") for mark in letters.silent]
    other = Regex(f"[^{re.escape(letters.small)}0-9{re.escape(letters.inner)}]+")
    return normalizers.Sequence(
        [*silent, *accents, normalizers.Lowercase(), normalizers.Replace("’", "'"), normalizers.Replace(other, " "),
         normalizers.Strip()]
    )  # fmt: skip


def _parts(words: Counter[str]) -> Counter[str]:
    """Beginnings and continuations (``##``) of two and three letters, counted over words."""
    parts: Counter[str] = Counter()
    for word, n in words.items():
        for length in (2, 3):
            for start in range(len(word) - length + 1):
                parts[("##" if start else "") + word[start : start + length]] += n
    return parts


def _most_frequent(counts: Counter[str], n: int) -> list[str]:
    often = [(piece, count) for piece, count in counts.items() if count >= 2]
    return [piece for piece, _ in sorted(often, key=lambda pair: (-pair[1], pair[0]))[:n]]


__all__ = [
    "Example", "NluData", "OUTSIDE", "OUT_OF_SCOPE", "OutOfScope", "Sizes", "Span", "example", "make_data",
    "make_tokenizer", "noise", "pseudo_word", "split_of",
]  # fmt: skip
