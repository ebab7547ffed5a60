"""The dialogue of both bots: the ways of a call, and that every call is answered and ends."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dialogue import MAX_TURNS, Dialogue, State, Step
from parley.bot import load_bot
from parley.bot.replies import realise
from parley.errors import ParleyError

BOTS = {name: load_bot(name) for name in ("barista", "bank")}


@dataclass(frozen=True)
class Meant:
    intent: str
    slots: dict[str, str] = field(default_factory=dict)
    confidence: float = 0.95
    out_of_scope: bool = False


def converse(bot: str, *said: Meant | str) -> list[Step]:
    """The steps of a call; ``""`` is a caller who says nothing, ``"?"`` one who is not understood."""
    dialogue = Dialogue(BOTS[bot])
    steps = [dialogue.start()]
    for one in said:
        state = steps[-1].state
        if isinstance(one, Meant):
            steps.append(dialogue.understood(state, one))
        else:
            steps.append(dialogue.no_input(state) if one == "" else dialogue.not_understood(state))
    return steps


def acts(steps: list[Step]) -> list[str]:
    return [act.name for step in steps for act in step.acts]


ORDER = Meant("orderDrink", {"coffeeDrink": "latte"})
LARGE = Meant("inform", {"size": "large"})
YES, NO, BYE = Meant("affirm"), Meant("deny"), Meant("goodbye")


def test_an_order_is_completed_confirmed_and_ended() -> None:
    steps = converse("barista", ORDER, LARGE, YES, NO)

    assert acts(steps) == ["greet", "ask.size", "confirm.orderDrink", "done.orderDrink", "goodbye"]
    assert dict(steps[2].acts[0].slots) == {"coffeeDrink": "latte", "size": "large"}
    assert steps[-1].end == "goodbye"
    assert steps[-1].state.done == ("orderDrink",)


def test_a_change_is_made_and_read_back() -> None:
    steps = converse("barista", ORDER, Meant("inform", {"size": "small"}), Meant("change", {"size": "large"}), YES)

    assert steps[3].acts[0].slots["size"] == "large"
    assert acts(steps)[-1] == "done.orderDrink"


def test_a_missing_slot_may_be_answered_with_the_whole_order() -> None:
    with_milk = Meant("orderDrink", {"coffeeDrink": "latte", "milkAmount": "soy milk"})

    steps = converse("barista", with_milk, Meant("orderDrink", {"coffeeDrink": "latte", "size": "large"}))

    assert dict(steps[-1].state.form) == {"coffeeDrink": "latte", "milkAmount": "soy milk", "size": "large"}


def test_repeat_says_the_last_question_again_also_after_help() -> None:
    steps = converse("barista", ORDER, Meant("help"), Meant("repeat"))

    assert acts(steps) == ["greet", "ask.size", "help", "ask.size"]


def test_cancel_empties_the_form_and_the_call_goes_on() -> None:
    steps = converse("barista", ORDER, LARGE, Meant("cancel"), LARGE)

    assert acts(steps)[3:] == ["cancelled", "ask.coffeeDrink"]
    assert dict(steps[-1].state.form) == {"size": "large"}


@pytest.mark.parametrize("said", ["", "?"], ids=["no-input", "no-match"])
def test_help_rises_and_a_person_takes_over(said: str) -> None:
    steps = converse("barista", said, said, said)

    name = "no_input" if said == "" else "no_match"
    assert acts(steps)[1:] == [f"{name}.1", f"{name}.2", f"{name}.3"]
    assert [step.end for step in steps] == ["", "", "", "handover"]


def test_being_understood_once_starts_the_counting_anew() -> None:
    steps = converse("barista", "?", "?", ORDER, "?")

    assert acts(steps)[-1] == "no_match.1"


@pytest.mark.parametrize(
    "unsure", [Meant("orderDrink", {"coffeeDrink": "latte"}, 0.1), Meant("orderDrink", out_of_scope=True)]
)
def test_what_is_not_sure_is_not_acted_on(unsure: Meant) -> None:
    steps = converse("barista", unsure)

    assert acts(steps)[-1] == "no_match.1"
    assert not steps[-1].state.form


def test_a_person_can_be_asked_for_at_any_time() -> None:
    for before in ([], [ORDER], [ORDER, LARGE], [ORDER, LARGE, YES]):
        steps = converse("barista", *before, Meant("operator"))
        assert (acts(steps)[-1], steps[-1].end) == ("handover", "handover")


def test_silence_after_the_order_ends_the_call() -> None:
    steps = converse("barista", ORDER, LARGE, YES, "")

    assert (acts(steps)[-1], steps[-1].end) == ("goodbye", "goodbye")


def test_a_second_bot_answers_from_its_file_alone() -> None:
    hours = converse("bank", Meant("branchHours", {"city": "madison"}), Meant("inform", {"day": "saturday"}))
    balance = converse("bank", Meant("balance", {"account": "savings"}), Meant("inform", {"accountNumber": "4021"}))
    block = converse("bank", Meant("blockCard"), Meant("inform", {"cardType": "debit"}), YES)

    assert hours[-1].acts[0].slots["answer"] == "open from ten to two"
    assert acts(balance) == ["greet", "ask.accountNumber", "done.balance"]
    assert acts(block) == ["greet", "ask.cardType", "confirm.blockCard", "done.blockCard"]


def test_slots_said_out_of_the_blue_open_the_one_task_they_fit() -> None:
    assert acts(converse("barista", LARGE))[-1] == "ask.coffeeDrink"
    assert acts(converse("bank", Meant("inform", {"cardType": "credit"})))[-1] == "confirm.blockCard"


def test_a_reply_that_needs_what_is_never_asked_is_refused_when_the_bot_is_loaded() -> None:
    bot = BOTS["barista"]
    task = bot.dialogue.tasks["orderDrink"].model_copy(update={"required": ["size"]})
    wrong = bot.model_copy(update={"dialogue": bot.dialogue.model_copy(update={"tasks": {"orderDrink": task}})})

    with pytest.raises(ParleyError, match="coffeeDrink"):
        Dialogue(wrong)


def said_by(bot: str) -> st.SearchStrategy[list[Meant | str]]:
    spec = BOTS[bot]
    values = {name: list(slot.values) or ["4021"] for name, slot in spec.slots.items()}
    some_slots = st.dictionaries(st.sampled_from(list(values)), st.integers(0, 99), max_size=3).map(
        lambda picks: {name: values[name][pick % len(values[name])] for name, pick in picks.items()}
    )
    meant = st.builds(Meant, st.sampled_from([*spec.intents, "unheard_of"]), some_slots, st.floats(0, 1), st.booleans())
    return st.lists(meant | st.sampled_from(["", "?"]), max_size=3 * MAX_TURNS)


@pytest.mark.parametrize("bot", BOTS)
@given(st.data())
def test_every_state_answers_every_event_with_a_reply_that_can_be_said(bot: str, data: st.DataObject) -> None:
    for step in converse(bot, *data.draw(said_by(bot))):
        assert step.acts
        for act in step.acts:
            assert realise(BOTS[bot], act.name, dict(act.slots))


@pytest.mark.parametrize("bot", BOTS)
@given(st.data())
def test_no_call_goes_on_for_ever(bot: str, data: st.DataObject) -> None:
    one = data.draw(said_by(bot).filter(bool))
    said = (one * (2 * MAX_TURNS))[: 2 * MAX_TURNS]

    assert any(step.end for step in converse(bot, *said))


def test_the_state_before_is_still_there_after_a_step() -> None:
    dialogue = Dialogue(BOTS["barista"])
    before = dialogue.understood(State(), ORDER).state

    dialogue.understood(before, LARGE)

    assert dict(before.form) == {"coffeeDrink": "latte"}
