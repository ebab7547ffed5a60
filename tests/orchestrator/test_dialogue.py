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

    assert acts(steps) == ["greet", "ask.size", "help", "ask.size", "ask.size"]


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


CHANGE = Meant("change", {"size": "small"})
CONFIRM = "confirm.orderDrink"


@pytest.mark.parametrize("waiting", [[ORDER], [ORDER, LARGE]], ids=["a slot is asked for", "read back"])
def test_silence_at_a_question_is_answered_with_the_same_question(waiting: list[Meant]) -> None:
    steps = converse("barista", *waiting, "", "")

    assert steps[-1].acts == steps[-2].acts == steps[-3].acts
    assert [step.end for step in converse("barista", *waiting, "", "", "")][-1] == "handover"


def test_yes_after_silence_is_a_yes_to_what_was_asked_again() -> None:
    steps = converse("barista", ORDER, LARGE, "", YES)

    assert acts(steps)[-2:] == [CONFIRM, "done.orderDrink"]


@pytest.mark.parametrize("between", ["?", Meant("help")], ids=["not understood", "help"])
def test_what_is_said_in_between_ends_with_the_question_that_waits(between: Meant | str) -> None:
    steps = converse("barista", ORDER, LARGE, between, between)

    assert acts(steps)[-1] == CONFIRM
    assert "no_match.2" not in acts(steps), "it tells how to begin an order"


@pytest.mark.parametrize("done", [[ORDER, LARGE, YES], [ORDER, LARGE, YES, YES], []], ids=["done", "going on", "first"])
def test_nothing_is_said_to_be_cancelled_that_is_not(done: list[Meant]) -> None:
    assert acts(converse("barista", *done, Meant("cancel")))[-1] != "cancelled"


def test_what_is_done_is_cancelled_by_a_person_and_what_was_only_told_needs_none() -> None:
    done = converse("barista", ORDER, LARGE, YES, Meant("cancel"))
    told = converse("bank", Meant("branchHours", {"city": "madison", "day": "sunday"}), Meant("cancel"))

    assert (acts(done)[-1], done[-1].end) == ("handover", "handover")
    assert (acts(told)[-1], told[-1].end) == ("ask_task", "")


@pytest.mark.parametrize("in_hand", [[ORDER], [ORDER, LARGE], [ORDER, LARGE, NO]], ids=["asked", "read back", "denied"])
def test_what_is_in_hand_is_cancelled(in_hand: list[Meant]) -> None:
    steps = converse("barista", *in_hand, Meant("cancel"), LARGE)

    assert acts(steps)[-2:] == ["cancelled", "ask.coffeeDrink"]


def test_a_no_at_the_read_back_keeps_the_order_and_a_change_is_made_in_it() -> None:
    steps = converse("barista", ORDER, LARGE, NO, CHANGE)

    assert acts(steps)[-2:] == ["ask_task", CONFIRM]
    assert dict(steps[-1].acts[0].slots) == {"coffeeDrink": "latte", "size": "small"}
    assert acts(converse("barista", ORDER, LARGE, NO, YES))[-1] == "ask_task", "a yes orders nothing"
    assert acts(converse("barista", ORDER, LARGE, NO, NO))[-1] == "goodbye"


def test_a_whole_new_order_after_a_no_replaces_the_old_one() -> None:
    with_milk = Meant("orderDrink", {"coffeeDrink": "latte", "size": "large", "milkAmount": "soy milk"})
    steps = converse("barista", with_milk, NO, Meant("orderDrink", {"coffeeDrink": "mocha", "size": "small"}))

    assert dict(steps[-1].state.form) == {"coffeeDrink": "mocha", "size": "small"}


def test_a_number_said_before_its_task_is_kept_for_it() -> None:
    number = Meant("inform", {"accountNumber": "4021"})
    steps = converse("bank", number, Meant("balance", {"account": "savings"}))

    assert acts(steps) == ["greet", "ask_task", "done.balance"]
    assert steps[-1].acts[0].slots["accountNumber"] == "4021"
    assert acts(converse("bank", number, Meant("branchHours")))[-1] == "ask.city", "where it has no place it is let go"


NUMBER_ASKED = converse("bank", Meant("balance", {"account": "savings"}))[-1].state


def test_keys_fill_the_slot_of_digits_that_is_asked_for() -> None:
    dialogue = Dialogue(BOTS["bank"])

    assert dialogue.asks_digits(NUMBER_ASKED) and dialogue.most_digits(NUMBER_ASKED) == 8
    step = dialogue.keyed(NUMBER_ASKED, "0471")
    assert (step.acts[0].name, step.acts[0].slots["accountNumber"]) == ("done.balance", "0471")


@pytest.mark.parametrize("digits", ["123", "123456789"], ids=["too few", "too many"])
def test_a_number_of_the_wrong_length_is_asked_for_again(digits: str) -> None:
    step = Dialogue(BOTS["bank"]).keyed(NUMBER_ASKED, digits)

    assert step.acts[0].name == "no_match.1" and not step.state.form.get("accountNumber")


def test_keys_where_no_number_has_a_place_are_not_understood() -> None:
    dialogue = Dialogue(BOTS["barista"])
    city = converse("bank", Meant("branchHours"))[-1].state

    assert dialogue.most_digits(State()) is None and dialogue.keyed(State(), "4711").acts[0].name == "no_match.1"
    assert Dialogue(BOTS["bank"]).most_digits(city) is None


def test_a_bot_that_only_takes_numbers_takes_keys_at_once_and_corrects_by_them() -> None:
    dialogue = Dialogue(load_bot("digits"))
    first = dialogue.start().state
    read_back = dialogue.keyed(first, "012")

    assert dialogue.asks_digits(first)
    assert not dialogue.asks_digits(read_back.state), "there a zero calls a person"
    assert dialogue.keyed(read_back.state, "345").acts[0].slots["number"] == "345"


def test_the_state_before_is_still_there_after_a_step() -> None:
    dialogue = Dialogue(BOTS["barista"])
    before = dialogue.understood(State(), ORDER).state

    dialogue.understood(before, LARGE)

    assert dict(before.form) == {"coffeeDrink": "latte"}
