"""The rows of a call: one when it begins, completed when it ends. Its turns' are made in `orchestrator.turn`."""

from __future__ import annotations

from datetime import UTC, datetime

from calls.records import CallBegan, CallEnded
from calls.subjects import Subject
from orchestrator.services import CallAssignment
from parley.row_log import Row


def began(call_id: str, gateway_id: str, wire: str, replica: str, assignment: CallAssignment) -> list[Row]:
    """A call is being answered, and whose it is.

    Args:
        gateway_id: as `calls.records.named_by_gateway` gives it.
        replica: the process that answers.
    """
    now, unit = datetime.now(UTC), assignment.unit
    bot = assignment.script.bot.name
    row = CallBegan(call_id, gateway_id, unit, bot, assignment.release, wire, replica, now)
    return [row, Subject(unit, "call", call_id, now)]


def ended(call_id: str, why: str, tasks: tuple[str, ...]) -> list[Row]:
    """It is over. ``tasks``: the bot's tasks that were finished in it, in order."""
    return [CallEnded(call_id, datetime.now(UTC), why, tasks)]
