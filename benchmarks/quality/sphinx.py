"""The peer: PocketSphinx with exactly the bot's grammar, as JSGF made from ``bot.yaml``.

Its wide-band acoustic model hears the telephone audio resampled to 16 kHz, with the speech's boundaries given: what a
team gets without training anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import soxr

from parley.audio import TELEPHONE_RATE, Pcm
from parley.bot import Bot
from parley.bot.template import Alt, AnyOrder, ListRef, Node, Opt, Seq, SlotRef, Text
from parley.errors import ParleyError
from parley.language.digits import DigitWords

_RATE = 16000


def jsgf(bot: Bot) -> str:
    """The bot's phrases as a JSGF grammar, one public rule."""
    rules = [f"<list_{name}> = {_expression(node)};" for name, node in bot.list_nodes.items()]
    for name, spec in bot.slots.items():
        if spec.type == "values":
            said = " | ".join(variant for variants in spec.values.values() for variant in variants)
        else:
            said = _digits(bot.speech.digits, spec.digits_min, spec.digits_max)
        rules.append(f"<slot_{name}> = {said};")
    phrases = [_expression(node) for nodes in bot.phrase_nodes.values() for node in nodes]
    public = "public <said> = " + " | ".join(phrases) + ";"
    return "\n".join(["#JSGF V1.0;", f"grammar {bot.name};", *rules, public, ""])


def _digits(words: DigitWords, fewest: int, most: int) -> str:
    """So many digits; "double three" counts as one, or the rule would hold every split of every length."""
    digit = f"[{' | '.join(words.repeats)}] ({' | '.join(words.single)})"
    more = ""
    for _ in range(most - fewest):
        more = f"[{digit} {more}]"
    return " ".join([*[digit] * fewest, more])


def _expression(node: Node) -> str:
    if isinstance(node, Text):
        return node.text
    if isinstance(node, SlotRef):
        return f"<slot_{node.name}>"
    if isinstance(node, ListRef):
        return f"<list_{node.name}>"
    if isinstance(node, Alt):
        return "(" + " | ".join(_expression(item) for item in node.items) + ")"
    if isinstance(node, Opt):
        return f"[{_expression(node.item)}]"
    if isinstance(node, Seq):
        return " ".join(_expression(item) for item in node.items)
    return _any_order(node)


def _any_order(node: AnyOrder) -> str:
    items = [_expression(item) for item in node.items]
    orders = [" ".join(o) for n in range(1, len(items) + 1) for o in itertools.permutations(items, n)]
    return "[" + " | ".join(orders) + "]"


class Sphinx:
    """One decoder."""

    def __init__(self, grammar: str, words: Iterable[str]) -> None:
        """Load the model and a JSGF grammar of ``words``.

        Raises:
            ParleyError: PocketSphinx is not installed, or lacks a word.
        """
        try:
            from pocketsphinx import Decoder
        except ModuleNotFoundError:
            raise ParleyError("pocketsphinx is not installed", where="peer", mend="pip install -e '.[train]'") from None
        self._decoder: Any = Decoder(samprate=_RATE, lm=None, loglevel="FATAL")
        missing = [w for w in words if self._decoder.lookup_word(w) is None]
        if missing:
            raise ParleyError(f"PocketSphinx lacks {', '.join(missing)}", where="peer", mend="add to its dictionary")
        self._decoder.add_jsgf_string("peer", grammar)
        self._decoder.activate_search("peer")

    def hear(self, pcm: Pcm) -> str:
        """The sentence in int16 samples ``[n]`` at 8 kHz; empty when none was found."""
        wide = soxr.resample(pcm.astype(np.float32) / (np.max(np.abs(pcm)) + 1.0), TELEPHONE_RATE, _RATE)
        self._decoder.start_utt()
        self._decoder.process_raw((wide * 20000).astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return str(found.hypstr) if found else ""
