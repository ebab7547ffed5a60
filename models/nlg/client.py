"""The NLG implementation `act-prompt/1`: act and slots to a prompt, tokens to a checked sentence. Torch-free.

>>> client = ActPromptClient(bundle, engine, "barista_nlg", 1)
>>> reply = await client.generate("done.orderDrink", {"coffeeDrink": "latte"})
>>> reply.text
'Thank you. Your latte will be ready in five minutes. Anything else?'
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from models.contracts import Reply
from models.tokenizer import read_tokenizer
from parley.bot.replies import acts, realise, relexicalise, says, spoken_values
from parley.bot.spec import Bot
from parley.bot.template import PLACEHOLDER
from parley.bundle import BOT as BOT
from parley.bundle import read_manifest
from parley.errors import ParleyError
from parley.serving.engine import Engine

IMPLEMENTATION = "act-prompt/1"
TOKENIZER = "tokenizer.json"
_MEND = "publish or export the version again"


def act_token(act: str) -> str:
    """The prompt's token for an act."""
    return f"<act:{act}>"


def slot_token(slot: str) -> str:
    """The prompt's token for a slot that is to be said."""
    return f"<slot:{slot}>"


def style_token(style: int) -> str:
    """The prompt's token for a phrasing."""
    return f"<style:{style}>"


def prompt_tokens(act: str, sayable: Iterable[str], slots: Iterable[str], style: int) -> list[str]:
    """The prompt: act, phrasing, and for each slot the act can say, in the act's order, its token or ``[NOT]``.

    So every act has a prompt of one length, and each slot its place in it: which slots to say is read off, not counted.
    """
    given = set(slots)
    return ["[BOS]", act_token(act), style_token(style), *(slot_token(s) if s in given else "[NOT]" for s in sayable)]


def read_bot(path: Path) -> Bot:
    """The bot as it was when the version was trained.

    Raises:
        ParleyError: it is missing or damaged.
    """
    try:
        return Bot.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParleyError("the bot of the version is missing", where=str(path), mend=_MEND) from None
    except (ValidationError, UnicodeDecodeError):
        raise ParleyError("the bot of the version is damaged", where=str(path), mend=_MEND) from None


class SlotErrors(Counter[str]):
    """``missing``, ``hallucinated`` and ``repeated`` slots of a reply with placeholders."""

    @classmethod
    def of(cls, text: str, wanted: Iterable[str]) -> SlotErrors:
        """Compare placeholders in ``text`` with the slots it should say, each once."""
        said, wanted = Counter(PLACEHOLDER.findall(text)), set(wanted)
        return cls(
            missing=sum(slot not in said for slot in wanted),
            hallucinated=sum(slot not in wanted for slot in said),
            repeated=sum(n - 1 for n in said.values()),
        )


class Writer:
    """Prompts in, sentences out, with the vocabulary of one bundle: the client without the engine."""

    def __init__(self, bundle_dir: Path) -> None:
        constants = read_manifest(bundle_dir).constants
        self.bot = read_bot(bundle_dir / BOT)
        self._tokenizer = read_tokenizer(bundle_dir / TOKENIZER)
        self._vocab = self._tokenizer.get_vocab()
        self._width, self.styles = int(constants["prompt_tokens"]), int(constants["styles"])
        self._sayable = {spec.act: (*spec.required, *spec.optional) for spec in acts(self.bot)}

    def sayable(self, act: str, slots: dict[str, str]) -> dict[str, str]:
        """The slots that the act has words for."""
        return {slot: value for slot, value in slots.items() if slot in self._sayable.get(act, ())}

    def feeds(self, act: str, slots: Iterable[str], style: int) -> dict[str, NDArray[Any]] | None:
        """The graph's input ``prompt_ids`` int64 [1, prompt tokens]; None for an act the network never learnt."""
        ids = [self._vocab.get(token) for token in prompt_tokens(act, self._sayable.get(act, ()), slots, style)]
        if None in ids or len(ids) > self._width:
            return None
        prompt = np.zeros((1, self._width), np.int64)
        prompt[0, : len(ids)] = ids
        return {"prompt_ids": prompt}

    def text(self, tokens: Sequence[int] | NDArray[Any], prompt: NDArray[Any]) -> str | None:
        """The reply in a row of the buffer, with placeholders; None if the network never ended it."""
        ids = list(map(int, tokens))[int((prompt != 0).sum()) :]
        end = self._vocab["[EOS]"]
        if end not in ids:
            return None
        return self._tokenizer.decode(ids[: ids.index(end)], skip_special_tokens=False)

    def checked(self, text: str | None, slots: dict[str, str]) -> str | None:
        """The sentence with its values, or None unless it says every slot once and no other."""
        if text is None or not text.strip() or "[" in text or SlotErrors.of(text, slots).total():
            return None
        values = spoken_values(self.bot, slots)
        language = self.bot.speech
        said = relexicalise(text, values, language)
        return None if says(said, values, language) else said


def style_of(style: int | str, styles: int) -> int:
    """A phrasing's number: of text (a call and turn id, say) a stable hash, so that a replayed call sounds the same."""
    if isinstance(style, str):
        style = int.from_bytes(hashlib.sha256(style.encode()).digest()[:8], "big")
    return style % styles


class ActPromptClient:
    """Says acts with one version of a bot's NLG.

    Raises:
        ParleyError: the bundle's tokenizer, bot or manifest are missing or damaged.
    """

    def __init__(self, bundle_dir: Path, engine: Engine, model: str, version: int) -> None:
        self._writer = Writer(bundle_dir)
        self._engine, self._model, self._version = engine, model, version
        self.replies = 0
        """Replies given so far ..."""
        self.fallbacks = 0
        """... and how many of them a template gave."""

    async def generate(self, act: str, slots: dict[str, str], *, style: int | str = 0) -> Reply:
        """Word an act. Slots the act has no words for are left out, as in :func:`parley.bot.replies.realise`.

        Args:
            act: one of the bot's acts.
            slots: canonical values.
            style: which phrasing; text is hashed to one, 0 is the usual one.

        Raises:
            EngineError: the model did not answer (:meth:`template` still can).
            ParleyError: unknown act, or a slot is missing that all its replies need.
        """
        writer = self._writer
        said = writer.sayable(act, slots)
        feeds = writer.feeds(act, said, style_of(style, writer.styles))
        if feeds is not None:
            answer = await self._engine.infer(self._model, self._version, feeds)
            text = writer.checked(writer.text(answer["tokens"][0], feeds["prompt_ids"][0]), said)
            if text is not None:
                self.replies += 1
                return Reply(text, fallback=False)
        return self.template(act, slots)

    def template(self, act: str, slots: dict[str, str]) -> Reply:
        """The bot's own template for an act, counted as a fallback.

        Raises:
            ParleyError: unknown act, or a slot is missing that all its replies need.
        """
        text = realise(self._writer.bot, act, slots)
        self.replies += 1
        self.fallbacks += 1
        return Reply(text, fallback=True)
