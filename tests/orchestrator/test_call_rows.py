"""What is written of a call: that it began and how it ended, its turns and exposures, and nothing that was said."""

from __future__ import annotations

import pytest
from call_fakes import Caller, FakeGateway, run
from written_calls import turns, written_services

from calls.records import CallBegan, CallEnded, TurnRow
from calls.subjects import Subject
from experiments.exposures import Exposure
from parley.row_log import Row


def rows_of(caller: Caller, **params: bool) -> tuple[list[Row], str]:
    services, _, rows = written_services(**params)
    _, reason = run(services, caller, parameters={"parley_trace": "1", "caller": "+4930987123654"})
    return rows, reason


async def orders(gateway: FakeGateway) -> None:
    await gateway.hear_reply(1)
    await gateway.turn(800, 2)
    await gateway.turn(500, 3)
    await gateway.turn(600, 4)


def test_a_call_is_a_row_that_begins_ends_and_says_what_was_done() -> None:
    rows, reason = rows_of(orders)

    began, subject, *between, ended = rows
    assert isinstance(began, CallBegan) and isinstance(subject, Subject) and isinstance(ended, CallEnded)
    assert (began.bot, began.release, began.wire, began.unit, began.gateway_id) == (
        "barista",
        7,
        "twilio",
        "unit",
        "CA1",
    )
    assert (subject.pseudonym, subject.kind, subject.reference) == ("unit", "call", began.call_id)
    assert (ended.call_id, ended.why, ended.tasks) == (began.call_id, reason, ("orderDrink",))
    assert reason == "goodbye" and began.began <= ended.ended
    assert {row.call_id for row in between if isinstance(row, TurnRow | Exposure)} == {began.call_id}
    assert [turn.intent for turn in turns(rows)] == [None, "orderDrink", "affirm", "deny"]


def test_what_was_said_is_in_no_row_unless_the_site_asked_for_it() -> None:
    silent, _ = rows_of(orders)
    asked, _ = rows_of(orders, log_transcripts=True)

    assert {turn.text for turn in turns(silent)} == {None} and "mocha" not in str(silent)
    assert [turn.text for turn in turns(asked)] == [None, "i'd like a small mocha", "yes", "no thanks"]


@pytest.mark.parametrize(("end", "why"), [("bug", "internal_error"), ("cancelled", "aborted")])
def test_a_call_that_dies_has_an_end_all_the_same(end: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    services, _, rows = written_services()

    async def dies(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        raise RuntimeError("the test ends the call")

    if end == "bug":
        monkeypatch.setattr("orchestrator.session.CallSession._think", _bug)
        run(services, _hangs_up)
    else:
        with pytest.raises(ExceptionGroup):
            run(services, dies)

    (ended,) = [row for row in rows if isinstance(row, CallEnded)]
    assert ended.why == why


async def _bug(self: object, group: object) -> None:
    raise ZeroDivisionError("a bug")


async def _hangs_up(gateway: FakeGateway) -> None:
    while not gateway.media():
        await gateway.line.changed()
    gateway.hang_up()
