"""What a ``bot.yaml`` may say, as types. :mod:`parley.bot.load` reads the file and words its errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from parley.bot import template
from parley.bot.template import Node
from parley.errors import ParleyError
from parley.files import sha256_json
from parley.language import Language, language_of
from parley.yaml_text import Truth, Whole

Name = Annotated[str, StringConstraints(pattern=f"^{template.NAME}$", max_length=64)]
Act = Annotated[str, StringConstraints(pattern=r"^[a-z_]+(\.[A-Za-z0-9_]+)?$", max_length=96)]


def _one_case(tag: object) -> object:
    """A language tag in the case that BCP 47 gives it; case means nothing in one."""
    if not isinstance(tag, str) or not re.fullmatch("[A-Za-z]{2}-[A-Za-z]{2}", tag):
        return tag
    return f"{tag[:2].lower()}-{tag[3:].upper()}"


def _known(tag: str) -> str:
    try:
        language_of(tag)
    except ParleyError as error:
        raise PydanticCustomError(UNKNOWN_LANGUAGE, "{what}", {"what": error.what, "mend": error.mend}) from None
    return tag


UNKNOWN_LANGUAGE = "unknown_language"
"""The kind of pydantic's complaint about a language that there is not."""
LanguageTag = Annotated[
    str, BeforeValidator(_one_case), StringConstraints(pattern=r"^[a-z]{2}-[A-Z]{2}$"), AfterValidator(_known)
]

FIXED_ACTS = (
    "greet", "ask_task", "help", "repeat_nothing", "cancelled", "handover", "apology", "goodbye", "anything_else",
)  # fmt: skip
"""Acts every bot must have replies for, beside those its tasks and slots call for."""
PARTS = ("fill", "affirm", "deny", "repeat", "cancel", "operator", "help", "goodbye")
"""Parts of the dialogue that intents play, beside opening a task."""
ANSWER = "answer"
"""The slot of a reply that holds its task's fixed answer."""


class Strict(BaseModel):
    """A part of the file that takes no key it does not know, and does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AnyOrderList(Strict):
    """A list whose items may stand in any order, each at most once."""

    any_order: list[str] = Field(min_length=2, max_length=6)


class SlotSpec(Strict):
    """One thing a caller can fill in."""

    type: Literal["values", "digits"] = "values"
    values: dict[str, list[str]] = Field(default_factory=dict)
    """Canonical value to spoken variants; in the file also a list of phrases, each expansion a value of its own."""
    digits_min: Whole = Field(default=1, ge=1, le=32)
    digits_max: Whole = Field(default=16, ge=1, le=32)

    @model_validator(mode="after")
    def _consistent(self) -> SlotSpec:
        if self.type == "values" and not self.values:
            raise ValueError("a slot of type 'values' needs at least one value")
        if self.type == "digits" and self.values:
            raise ValueError("a slot of type 'digits' takes digits_min and digits_max, no values")
        if self.digits_min > self.digits_max:
            raise ValueError("digits_min is larger than digits_max")
        return self


class IntentSpec(Strict):
    """What callers say to mean one thing."""

    phrases: list[str] = Field(min_length=1)


class AnswerSpec(Strict):
    """A fixed answer looked up by slot values; the reply ``done.<task>`` receives it as ``{answer}``."""

    by: list[Name] = Field(min_length=1)
    values: dict[str, str] = Field(min_length=1)
    """Canonical slot values joined by ``/``, to the answer."""


class TaskSpec(Strict):
    """A form that an intent of the same name opens."""

    required: list[Name] = Field(default_factory=list)
    """Asked for, in this order, while they are missing."""
    confirm: Truth = True
    answer: AnswerSpec | None = None


class DialogueSpec(Strict):
    """How a call goes. The lists name the intents that play each part."""

    tasks: dict[Name, TaskSpec] = Field(min_length=1)
    fill: list[Name] = Field(default_factory=list)
    """Intents that only fill or change slots of the form in hand ("a large one", "no, make it a large")."""
    affirm: list[Name] = Field(min_length=1)
    deny: list[Name] = Field(min_length=1)
    repeat: list[Name] = Field(min_length=1)
    cancel: list[Name] = Field(min_length=1)
    operator: list[Name] = Field(min_length=1)
    help: list[Name] = Field(min_length=1)
    goodbye: list[Name] = Field(min_length=1)
    max_no_input: Whole = Field(default=3, ge=1, le=5)
    max_no_match: Whole = Field(default=3, ge=1, le=5)

    def part_of(self, intent: str) -> str:
        """The part an intent plays: ``task``, ``fill``, ``affirm`` ... or ``""``."""
        if intent in self.tasks:
            return "task"
        return next((part for part in PARTS if intent in getattr(self, part)), "")


class VoiceSpec(Strict):
    """The voice the TTS is trained on when no recordings are given."""

    synthesiser: Literal["flite"] = "flite"
    name: str = "slt"


class Bot(Strict):
    """A whole bot. ``digest`` names its content."""

    name: Name
    language: LanguageTag
    description: str
    lists: dict[Name, list[str] | AnyOrderList] = Field(default_factory=dict)
    slots: dict[Name, SlotSpec]
    intents: dict[Name, IntentSpec] = Field(min_length=1)
    dialogue: DialogueSpec
    replies: dict[Act, Annotated[list[str], Field(min_length=1)]]
    voice: VoiceSpec = VoiceSpec()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy. What was worked out of the original's content is worked out again of the copy's."""
        made = super().model_copy(update=update, deep=deep)
        for name in ("digest", "speech", "list_nodes", "phrase_nodes"):
            made.__dict__.pop(name, None)
        return made

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, whatever the file's layout and comments."""
        return sha256_json(self.model_dump(mode="json"))

    @cached_property
    def speech(self) -> Language:
        """What its language knows: letters, numbers, forms, sounds."""
        return language_of(self.language)

    @cached_property
    def list_nodes(self) -> dict[str, Node]:
        """Each list as one parsed node."""
        nodes: dict[str, Node] = {}
        letters = self.speech.letters
        for name, entry in self.lists.items():
            if isinstance(entry, AnyOrderList):
                nodes[name] = template.AnyOrder(tuple(template.parse(item, letters) for item in entry.any_order))
            else:
                nodes[name] = template.Alt(tuple(template.parse(item, letters) for item in entry))
        return nodes

    @cached_property
    def phrase_nodes(self) -> dict[str, list[Node]]:
        """Intent to its parsed phrases."""
        letters = self.speech.letters
        return {name: [template.parse(p, letters) for p in spec.phrases] for name, spec in self.intents.items()}

    def intent_slots(self, intent: str) -> list[str]:
        """Every slot an intent's phrases can fill."""
        found: dict[str, None] = {}
        for node in self.phrase_nodes[intent]:
            found.update(dict.fromkeys(template.slots_of(node, self.list_nodes)))
        return list(found)

    def required_acts(self) -> list[str]:
        """Acts this bot's dialogue can produce, each of which needs a reply."""
        acts = list(FIXED_ACTS)
        for task, spec in self.dialogue.tasks.items():
            acts += [f"ask.{slot}" for slot in spec.required]
            acts += [f"confirm.{task}", f"done.{task}"] if spec.confirm else [f"done.{task}"]
        acts += [f"no_input.{n}" for n in range(1, self.dialogue.max_no_input + 1)]
        acts += [f"no_match.{n}" for n in range(1, self.dialogue.max_no_match + 1)]
        return list(dict.fromkeys(acts))
