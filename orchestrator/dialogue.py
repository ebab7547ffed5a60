"""The dialogue: what the caller meant, and what is to be said next. Pure, and generic over ``bot.yaml``.

    dialogue = Dialogue(bot)
    step = dialogue.start()
    step = dialogue.understood(step.state, understanding)      # step.acts, step.state, step.end

A state is an immutable value: taking a turn back is keeping the state before it. Every event is answered by at least
one act, and counters end every call that leads nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, Protocol

from parley.bot import Bot
from parley.bot.replies import ANSWER, ActSpec, acts, unanswerable
from parley.errors import ParleyError

Phase = Literal["open", "filling", "confirming", "after", "over"]
End = Literal["", "goodbye", "handover"]

MAX_TURNS = 60
"""Turns after which a person takes over, whatever is said."""
MIN_CONFIDENCE = 0.3
"""Understandings less sure than this are not acted on."""


class Understood(Protocol):
    """What the dialogue needs of an NLU result."""

    @property
    def intent(self) -> str: ...
    @property
    def slots(self) -> Mapping[str, str]: ...
    @property
    def confidence(self) -> float: ...
    @property
    def out_of_scope(self) -> bool: ...


@dataclass(frozen=True)
class Act:
    """One thing to say, with the canonical values it is to name."""

    name: str
    slots: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """Where a call stands."""

    phase: Phase = "open"
    task: str = ""
    form: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Slot to canonical value, of the task in hand (or said before there was one)."""
    no_input: int = 0
    no_match: int = 0
    turns: int = 0
    done: tuple[str, ...] = ()
    """Tasks finished in this call."""
    said: tuple[Act, ...] = ()
    """What was said last, for "repeat that"."""


@dataclass(frozen=True)
class Step:
    """The answer to one event."""

    acts: tuple[Act, ...]
    state: State
    end: End = ""
    """How the call ends once the acts have been heard; empty when it goes on."""


class Dialogue:
    """The rules of one bot's calls.

    Raises:
        ParleyError: a reply needs a slot that its task does not ask for, so a call could not be answered.
    """

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._spec = bot.dialogue
        self._acts: dict[str, ActSpec] = {spec.act: spec for spec in acts(bot)}
        self._slots_of_task = {
            task: {*bot.intent_slots(task), *spec.required} for task, spec in self._spec.tasks.items()
        }
        for act, complaint in unanswerable(bot):
            raise ParleyError(f"the reply {act!r} {complaint}", where=f"bot {bot.name}", mend="see docs/bots.md")

    def start(self, *, greet: bool = True) -> Step:
        """The first thing said. The greeting says that the caller talks to an AI."""
        return self._say(State(), "greet") if greet else Step((), State())

    def understood(self, state: State, meant: Understood) -> Step:
        """The caller said something that was understood as ``meant``."""
        if state.phase == "over":
            return Step((Act("goodbye"),), state, "goodbye")
        state = replace(state, turns=state.turns + 1)
        if state.turns > MAX_TURNS:
            return self._end(state, "handover", "handover")
        part = self._spec.part_of(meant.intent)
        if meant.out_of_scope or meant.confidence < MIN_CONFIDENCE or not part:
            return self._no_match(state)
        answered = self._answer(replace(state, no_input=0), part, meant)
        if answered is None:
            return self._no_match(state)
        return replace(answered, state=replace(answered.state, no_match=0))

    def not_understood(self, state: State) -> Step:
        """The caller said something that was not heard or not understood."""
        return self._no_match(replace(state, turns=state.turns + 1))

    def no_input(self, state: State) -> Step:
        """The caller said nothing for a while."""
        count = state.no_input + 1
        state = replace(state, no_input=count, turns=state.turns + 1)
        if state.phase == "after":
            return self._end(state, "goodbye", "goodbye")
        if count >= self._spec.max_no_input or state.turns > MAX_TURNS:
            return self._end(state, f"no_input.{min(count, self._spec.max_no_input)}", "handover")
        return self._keep(state, f"no_input.{count}")

    def failed(self, state: State) -> Step:
        """A stage is down and nothing can be understood: apologise and put through to a person."""
        return self._end(state, "apology", "handover")

    def operator(self, state: State) -> Step:
        """The caller asked for a person by key."""
        return self._end(state, "handover", "handover")

    def _answer(self, state: State, part: str, meant: Understood) -> Step | None:
        """The answer to an understood intent, None when it makes no sense here."""
        if part == "task":
            return self._open_task(state, meant.intent, meant.slots)
        if part == "fill":
            return self._fill(state, meant.slots)
        if part in ("operator", "goodbye"):
            ends: tuple[str, End] = ("handover", "handover") if part == "operator" else ("goodbye", "goodbye")
            return self._end(state, *ends)
        if part == "cancel":
            return self._say(_fresh(state), "cancelled")
        if part == "help":
            return self._keep(state, "help")
        if part == "repeat":
            return Step(state.said, state) if state.said else self._say(state, "repeat_nothing")
        return self._affirm(state) if part == "affirm" else self._deny(state)

    def _open_task(self, state: State, task: str, slots: Mapping[str, str]) -> Step:
        # Asked for a missing slot, callers often repeat the whole order: what they said before still holds. After a
        # read-back, a whole new order replaces the old one.
        keep = state.form if state.phase == "filling" and state.task == task else {}
        return self._go_on(replace(state, task=task, form={**keep, **self._own(task, slots)}))

    def _fill(self, state: State, slots: Mapping[str, str]) -> Step | None:
        if not slots:
            return None
        task = state.task if state.phase in ("filling", "confirming") else self._task_for(slots)
        if not task or not self._own(task, slots):
            return None
        keep = state.form if state.phase in ("filling", "confirming") else {}
        return self._go_on(replace(state, task=task, form={**keep, **self._own(task, slots)}))

    def _affirm(self, state: State) -> Step | None:
        if state.phase == "confirming":
            return self._done(state)
        if state.phase == "filling":
            return None
        return self._say(_fresh(state), "ask_task")

    def _deny(self, state: State) -> Step | None:
        if state.phase == "confirming":
            return self._say(_fresh(state), "cancelled")
        if state.phase == "filling":
            return None
        return self._end(state, "goodbye", "goodbye")

    def _go_on(self, state: State) -> Step:
        """Ask for what is missing, else read back, else do it."""
        spec = self._spec.tasks[state.task]
        for slot in spec.required:
            if slot not in state.form:
                return self._say(replace(state, phase="filling"), f"ask.{slot}", state.form)
        if spec.confirm:
            return self._say(replace(state, phase="confirming"), f"confirm.{state.task}", state.form)
        return self._done(state)

    def _done(self, state: State) -> Step:
        task, values = state.task, dict(state.form)
        answer = self._spec.tasks[task].answer
        if answer is not None:
            found = answer.values.get("/".join(values.get(slot, "") for slot in answer.by))
            if found is None:
                # The bot's file has no answer for these values: a person has.
                return self._end(state, "handover", "handover")
            values[ANSWER] = found
        after = replace(state, phase="after", task="", form={}, done=(*state.done, task))
        return self._say(after, f"done.{task}", values)

    def _no_match(self, state: State) -> Step:
        count = state.no_match + 1
        state = replace(state, no_match=count)
        if count >= self._spec.max_no_match or state.turns > MAX_TURNS:
            return self._end(state, f"no_match.{min(count, self._spec.max_no_match)}", "handover")
        return self._keep(state, f"no_match.{count}")

    def _say(self, state: State, act: str, values: Mapping[str, str] | None = None) -> Step:
        said = (self._act(act, values or {}),)
        return Step(said, replace(state, said=said))

    def _keep(self, state: State, act: str) -> Step:
        """Say something in between: "repeat that" still means the question before, where there was one."""
        said = (self._act(act, state.form),)
        return Step(said, replace(state, said=state.said or said))

    def _end(self, state: State, act: str, end: End) -> Step:
        said = (self._act(act, {}),)
        return Step(said, replace(state, phase="over", said=said), end)

    def _act(self, name: str, values: Mapping[str, str]) -> Act:
        """The act with those of the values that its replies can say."""
        spec = self._acts[name]
        sayable = (*spec.required, *spec.optional)
        return Act(name, {slot: values[slot] for slot in sayable if slot in values})

    def _own(self, task: str, slots: Mapping[str, str]) -> dict[str, str]:
        """Those of the slots that belong to the task."""
        return {slot: value for slot, value in slots.items() if slot in self._slots_of_task[task]}

    def _task_for(self, slots: Mapping[str, str]) -> str:
        """The task that slots said out of the blue can only mean; empty when there are several or none."""
        fitting = [task for task, own in self._slots_of_task.items() if set(slots) <= own]
        return fitting[0] if len(fitting) == 1 else ""


def _fresh(state: State) -> State:
    return replace(state, phase="open", task="", form={})
