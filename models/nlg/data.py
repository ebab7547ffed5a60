"""Replies to train and test the NLG, from a bot's reply templates, with ``{slot}`` in the place of values.

A row is an act, a set of slots that the act can say, a style (which phrasing) and the text. Where an act can say many
sets of slots, some sets are held out: the network must join what it learnt from others.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from models.nlg.client import act_token, prompt_tokens, slot_token, style_token
from parley.bot.replies import ActSpec, acts, delexicalised
from parley.bot.spec import Bot
from parley.bot.template import NAME
from parley.errors import ParleyError
from parley.files import sha256_json
from parley.language import Language

SPECIAL = ("[PAD]", "[EOS]", "[UNK]", "[BOS]", "[NOT]")
MAX_STYLES = 8
MAX_TOKENS = 128
"""Longest prompt and reply together; a reply nobody would listen to on a telephone is refused before this."""
_ENOUGH_SETS = 12
"""Acts with this many sets of slots have some held out."""


@dataclass(frozen=True)
class Row:
    """One reply: what to say, and how it is said."""

    act: str
    slots: tuple[str, ...]
    """Names of the slots said ..."""
    sayable: tuple[str, ...]
    """... of those the act can say, in the act's order."""
    style: int
    text: str
    """With placeholders."""


@dataclass(frozen=True)
class NlgData:
    """The splits; ``train`` alone holds acts whose few sets of slots all must be known."""

    train: list[Row]
    valid: list[Row]
    test: list[Row]
    styles: int

    @property
    def rows(self) -> list[Row]:
        return [*self.train, *self.valid, *self.test]

    @property
    def digest(self) -> str:
        """SHA-256 over every row: names the dataset."""
        return sha256_json(
            [[(r.act, r.slots, r.style, r.text) for r in part] for part in (self.train, self.valid, self.test)]
        )


def make_data(bot: Bot, seed: int) -> NlgData:
    """All replies of a bot, dealt to splits by act and set of slots. The same bot and seed give the same rows."""
    styles = min(MAX_STYLES, max(len(phrasings(bot, s, slots)) for s in acts(bot) for slots in slot_sets(s)))
    parts: dict[str, list[Row]] = {"train": [], "valid": [], "test": []}
    for spec in acts(bot):
        sets = [slots for slots in slot_sets(spec) if phrasings(bot, spec, slots)]
        held = _held_out(spec, sets, seed)
        for slots in sets:
            texts = phrasings(bot, spec, slots)
            rows = [
                Row(spec.act, slots, (*spec.required, *spec.optional), style, texts[style % len(texts)])
                for style in range(styles)
            ]
            parts[held.get(slots, "train")] += rows
    return NlgData(parts["train"], parts["valid"], parts["test"], styles)


def slot_sets(spec: ActSpec) -> list[tuple[str, ...]]:
    """Every set of slots an act may be asked to say."""
    return [
        (*spec.required, *extra)
        for size in range(len(spec.optional) + 1)
        for extra in combinations(spec.optional, size)
    ]


def _held_out(spec: ActSpec, sets: list[tuple[str, ...]], seed: int) -> dict[tuple[str, ...], str]:
    """Sets of slots not trained on: a tenth for validation, a sixth for the test, never the empty or the full one."""
    if len(sets) < _ENOUGH_SETS:
        return {}
    inner = sets[1:-1]
    random.Random(f"nlg/{spec.act}/{seed}").shuffle(inner)
    n_valid, n_test = max(1, len(sets) // 10), max(1, len(sets) // 6)
    return dict.fromkeys(inner[:n_valid], "valid") | dict.fromkeys(inner[n_valid : n_valid + n_test], "test")


def phrasings(bot: Bot, spec: ActSpec, slots: tuple[str, ...]) -> list[str]:
    """The different ways of the bot's templates to say exactly these slots: each template's first variant, then others.

    Empty when no template says exactly them.
    """
    found: dict[str, None] = {}
    singles = [bot.model_copy(update={"replies": {spec.act: [reply]}}) for reply in bot.replies[spec.act]]
    rng = random.Random(f"{spec.act}/{slots}")
    for draw in [None] + [rng] * 12:
        for single in singles:
            try:
                found[" ".join(delexicalised(single, spec.act, set(slots), draw).split())] = None
            except ParleyError:
                continue  # this template needs other slots
    return list(found)[:MAX_STYLES]


def make_tokenizer(bot: Bot, data: NlgData) -> Tokenizer:
    """Words, signs and placeholders of the replies as tokens with their leading space, so that text comes back whole.

    Acts, slots and styles of the prompt are tokens too. A word that no reply has is ``[UNK]``.
    """
    names = [act_token(act) for act in bot.replies]
    names += [slot_token(slot) for slot in _slot_names(bot)] + [style_token(i) for i in range(data.styles)]
    return word_tokenizer(names, (row.text for row in data.rows), bot.speech)


def word_tokenizer(names: Sequence[str], texts: Iterable[str], language: Language, least: int = 1) -> Tokenizer:
    """A tokenizer of the special tokens, of ``names`` and of the pieces that come ``least`` times in ``texts``."""
    tokenizer = Tokenizer(models.WordLevel(vocab={}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    signs = language.letters.signs
    pattern = Regex(rf"▁?(?:\{{{NAME}\}}|[{signs}]+~?|[^{signs}▁])")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace("▁", " ")])
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text.replace(" ", "▁")))
    pieces = sorted(piece for piece, count in counts.items() if count >= least)
    vocab = {token: i for i, token in enumerate([*SPECIAL, *names, *pieces])}
    tokenizer.model = models.WordLevel(vocab=vocab, unk_token="[UNK]")
    return tokenizer


def _slot_names(bot: Bot) -> list[str]:
    mentioned = {slot for spec in acts(bot) for slot in (*spec.required, *spec.optional)}
    return [*bot.slots, *sorted(mentioned - set(bot.slots))]  # `answer` is no slot of the bot but of its replies


def encode(tokenizer: Tokenizer, row: Row) -> tuple[list[int], list[int]]:
    """Ids of a row's prompt and of its reply with the end mark."""
    vocab = tokenizer.get_vocab()
    prompt = [vocab[token] for token in prompt_tokens(row.act, row.sayable, row.slots, row.style)]
    return prompt, [*tokenizer.encode(row.text, add_special_tokens=False).ids, vocab["[EOS]"]]


def buffer_length(tokenizer: Tokenizer, data: NlgData) -> int:
    """Tokens the reply buffer must hold, a multiple of 8 with a little to spare.

    Raises:
        ParleyError: a reply is too long to be said.
    """
    longest, row = max(((sum(map(len, encode(tokenizer, r))), r) for r in data.rows), key=lambda pair: pair[0])
    if longest > MAX_TOKENS - 4:
        raise ParleyError(f"a reply of act {row.act!r} has {longest} tokens; {MAX_TOKENS - 4} is the most",
                          where="replies", mend="say it in two turns")  # fmt: skip
    return -(-(longest + 4) // 8) * 8
