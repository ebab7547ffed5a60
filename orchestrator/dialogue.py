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
from typing import Literal

from models.contracts import Understanding
from parley.bot import Bot
from parley.bot.replies import ANSWER, ActSpec, acts, unanswerable
from parley.bot.slots import canonicalise
from parley.errors import ParleyError

Phase = Literal["open", "filling", "confirming", "denied", "after", "over"]
"""``denied``: the read-back was wrong; what was said is kept, to be changed."""
End = Literal["", "goodbye", "handover"]

PENDING = ("filling", "confirming")
"""Phases in which a question waits for its answer: what is said in between does not stand alone."""
MAX_TURNS = 60
"""Turns after which a person takes over, whatever is said."""
MIN_CONFIDENCE = 0.3
"""Understandings less sure than this are not acted on."""


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

    def understood(self, state: State, meant: Understanding) -> Step:
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
        if state.phase in PENDING:  # the reply of the file asks anew what was answered already
            return Step(state.said, state)
        return self._keep(state, f"no_input.{count}")

    def keyed(self, state: State, digits: str) -> Step:
        """The caller keyed a number: it fills the slot of digits that is asked for or read back, or may be changed."""
        state = replace(state, turns=state.turns + 1, no_input=0)
        if state.phase == "over":
            return Step((Act("goodbye"),), state, "goodbye")
        if state.turns > MAX_TURNS:
            return self._end(state, "handover", "handover")
        slot = self._digits_slot(state)
        value = canonicalise(self._bot.slots[slot], digits, self._bot.speech) if slot else None
        filled = self._fill(state, {slot: value}) if slot and value else None
        if filled is None:
            return self._no_match(state)
        return replace(filled, state=replace(filled.state, no_match=0))

    def most_digits(self, state: State) -> int | None:
        """How long a number may be that is keyed now; None where no number has a place."""
        slot = self._digits_slot(state)
        return self._bot.slots[slot].digits_max if slot else None

    def asks_digits(self, state: State) -> bool:
        """Whether a number is what was asked for, so that a zero is a digit and no call for a person."""
        slot = self._digits_slot(state)
        if slot is None or state.phase == "confirming":
            return False
        return state.phase == "filling" or all(spec.required[:1] == [slot] for spec in self._spec.tasks.values())

    def _digits_slot(self, state: State) -> str | None:
        """The slot that keyed digits fill: the one that is asked for; else the task's, or the bot's, only one."""
        if state.phase == "filling":
            asked = next(slot for slot in self._spec.tasks[state.task].required if slot not in state.form)
            return asked if self._bot.slots[asked].type == "digits" else None
        among = self._slots_of_task[state.task] if state.task else self._bot.slots
        fitting = [slot for slot in among if slot in self._bot.slots and self._bot.slots[slot].type == "digits"]
        return fitting[0] if len(fitting) == 1 else None

    def failed(self, state: State) -> Step:
        """A stage is down and nothing can be understood: apologise and put through to a person."""
        return self._end(state, "apology", "handover")

    def operator(self, state: State) -> Step:
        """The caller asked for a person by key."""
        return self._end(state, "handover", "handover")

    def _answer(self, state: State, part: str, meant: Understanding) -> Step | None:
        """The answer to an understood intent, None when it makes no sense here."""
        if part == "task":
            return self._open_task(state, meant.intent, meant.slots)
        if part == "fill":
            return self._fill(state, meant.slots)
        if part in ("operator", "goodbye"):
            ends: tuple[str, End] = ("handover", "handover") if part == "operator" else ("goodbye", "goodbye")
            return self._end(state, *ends)
        if part == "cancel":
            return self._cancel(state)
        if part == "help":
            return self._with_question(self._keep(state, "help"))
        if part == "repeat":
            return Step(state.said, state) if state.said else self._say(state, "repeat_nothing")
        return self._affirm(state) if part == "affirm" else self._deny(state)

    def _open_task(self, state: State, task: str, slots: Mapping[str, str]) -> Step:
        # Asked for a missing slot, callers often repeat the whole order: what they said before still holds, and so does
        # a number said before its task. After a read-back, a whole new order replaces the old one.
        holds = not state.task or (state.phase == "filling" and state.task == task)
        keep = self._own(task, state.form) if holds else {}
        return self._go_on(replace(state, task=task, form={**keep, **self._own(task, slots)}))

    def _fill(self, state: State, slots: Mapping[str, str]) -> Step | None:
        if not slots:
            return None
        going_on = bool(state.task) and bool(self._own(state.task, slots))
        if state.task and not going_on and state.phase != "denied":
            return None
        task = state.task if going_on else self._task_for(slots)
        keep = state.form if going_on or not state.task else {}
        if not task:
            return self._early(state, {**keep, **slots})
        return self._go_on(replace(state, task=task, form={**self._own(task, keep), **self._own(task, slots)}))

    def _early(self, state: State, slots: Mapping[str, str]) -> Step | None:
        """Slots of several tasks, said before any was asked for: they are kept, and the task is asked for."""
        known = {slot for own in self._slots_of_task.values() for slot in own}
        kept = {slot: value for slot, value in slots.items() if slot in known}
        return self._say(replace(_fresh(state), form=kept), "ask_task") if kept else None

    def _cancel(self, state: State) -> Step:
        """Say that something is cancelled only where something was in hand, and not done yet."""
        if state.task or state.form:
            return self._say(_fresh(state), "cancelled")
        done = state.phase == "after" and self._spec.tasks[state.done[-1]].confirm
        # What was ordered cannot be taken back here; a person can.
        return self._end(state, "handover", "handover") if done else self._say(_fresh(state), "ask_task")

    def _affirm(self, state: State) -> Step | None:
        if state.phase == "confirming":
            return self._done(state)
        if state.phase == "filling":
            return None
        return self._say(_fresh(state) if state.phase == "after" else state, "ask_task")

    def _deny(self, state: State) -> Step | None:
        if state.phase == "confirming":  # something in it is wrong; what, the caller says next
            return self._say(replace(state, phase="denied"), "ask_task")
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
        if count == 1 or state.phase not in PENDING:
            return self._keep(state, f"no_match.{count}")
        # From the second on the file's replies say how to begin a request: here one is under way.
        return self._with_question(self._keep(state, "no_match.1"))

    def _with_question(self, step: Step) -> Step:
        """A step that says something in between, and the question that waits for its answer after it."""
        return replace(step, acts=(*step.acts, *step.state.said)) if step.state.phase in PENDING else step

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
