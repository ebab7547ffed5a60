"""Meanings of the E2E corpus as prompts of the NLG network. Torch-free: training and the client share it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.nlg.client import act_token, prompt_tokens, slot_token, style_token
from models.nlg.corpora import SLOTS, Meaning
from models.nlg.data import SPECIAL, word_tokenizer
from models.nlg.delexicalise import DELEXICALISED
from parley.language.english import ENGLISH

ACT = "inform"
EXTRA = 3
"""Places of the prompt for second and third values of a slot."""
WIDTH = 3 + len(SLOTS) + EXTRA
STYLES = 4


def slot_keys(meaning: Meaning) -> list[str] | None:
    """What the prompt says at each of its places; None if a meaning has more second values than there are places.

    A delexicalised slot is said by its name, any other with its value.
    """
    places: dict[str, str] = {}
    more: list[str] = []
    seen: Counter[str] = Counter()
    for slot, value in meaning:
        seen[slot] += 1
        if slot in DELEXICALISED:
            key = slot if seen[slot] == 1 else f"{slot}2"
        else:
            key = f"{slot}={value}"
        if slot in places:
            more.append(key)
        else:
            places[slot] = key
    if len(more) > EXTRA or max(seen.values()) > 2:
        return None
    return [places.get(slot, "") for slot in SLOTS] + more + [""] * (EXTRA - len(more))


def make_corpus_tokenizer(values: Mapping[str, Iterable[str]], texts: Iterable[str], least: int) -> Tokenizer:
    """Tokens of the prompt (for every value of the slots in ``values``) and the pieces of delexicalised texts."""
    keys = [key for slot in DELEXICALISED for key in (slot, f"{slot}2")]
    keys += [f"{slot}={value}" for slot, known in values.items() if slot not in DELEXICALISED for value in known]
    names = [act_token(ACT), *map(slot_token, keys), *map(style_token, range(STYLES))]
    return word_tokenizer(names, texts, ENGLISH, least)


def encode_meaning(vocab: dict[str, int], meaning: Meaning, style: int = 0) -> NDArray[Any] | None:
    """Ids int64 [WIDTH] of a meaning's prompt; None if the network never learnt to read it."""
    keys = slot_keys(meaning)
    if keys is None:
        return None
    ids = [vocab.get(token) for token in prompt_tokens(ACT, keys, filter(None, keys), style)]
    return None if None in ids else np.array(ids, np.int64)


def encode_reply(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a delexicalised text and the end mark."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return [*ids, SPECIAL.index("[EOS]")]
