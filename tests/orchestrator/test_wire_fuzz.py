"""A gateway that does anything at any time: the call ends with a reason, in time, and costs what its time is worth."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from call_fakes import FakeGateway, FakeLine, answer_line, fake_services
from fake_models import tone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.session import CallSession
from orchestrator.wires.budget import AUDIO_AHEAD_S
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE

REASONS = {
    "caller_hung_up", "disconnected", "flooded", "goodbye", "handover", "stalled", "too_long", "wire_error",
}  # fmt: skip

numbers = st.sampled_from([None, 0, 1, 20.0, "7", "x", -1, 2**31, 2**32 - 1, 10**19]) | st.integers(0, 10**6)
parts: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries(
        {
            "event": st.just("media"),
            "sequenceNumber": numbers,
            "media": st.fixed_dictionaries(
                {
                    "chunk": numbers,
                    "timestamp": numbers,
                    "track": st.sampled_from([None, "inbound", "outbound", "x"]),
                    "payload": st.sampled_from(["", "/w==", "//8", "/" * 212 + "8=", "AAAA" * 54, "@", "/" * 40_000]),
                }
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "event": st.just("mark"),
            "mark": st.fixed_dictionaries({"name": st.sampled_from(["p1", "p2", "p9", "\ud800"])}),
        }
    ),
    st.fixed_dictionaries(
        {
            "event": st.just("dtmf"),
            "dtmf": st.fixed_dictionaries({"digit": st.sampled_from(["0", "5", "#", "*", "x", 4])}),
        }
    ),
    st.sampled_from(
        [{"event": "start"}, {"event": "connected"}, {"event": "clear"}, {"event": "news"}, {"event": 5}, {}]
    ),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), parts),
        st.tuples(st.just("pass"), st.floats(0.02, 3.0)),
        st.tuples(st.just("say"), st.integers(1, 30)),
        st.tuples(st.just("flood"), parts),
    ),
    max_size=15,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_whatever_a_gateway_does_its_call_ends_well(actions: list[tuple[str, Any]]) -> None:
    logging.disable(logging.ERROR)
    sessions: list[CallSession] = []
    init = CallSession.__init__

    def keep(self: CallSession, *args: Any) -> None:
        sessions.append(self)
        init(self, *args)

    async def call() -> tuple[str, FakeGateway]:
        line = FakeLine()
        gateway = FakeGateway(line)
        task = asyncio.create_task(answer_line(line, fake_services()[0]))
        for kind, what in actions:
            if kind == "say":
                for _ in range(what):
                    gateway.line.clock.advance(0.02)
                    gateway.send(tone(300, FRAME_SAMPLES / TELEPHONE_RATE))
                    await gateway.others()
            elif kind == "pass":
                await gateway.nothing(what)
            else:
                for _ in range(1 if kind == "send" else 150):
                    line.inbound.put_nowait(json.dumps(what))
                await gateway.others()
        line.inbound.put_nowait(None)
        async with asyncio.timeout(30):
            while not task.done():
                gateway.line.clock.advance(0.1)
                await asyncio.sleep(0.001)
        return task.result(), gateway

    CallSession.__init__ = keep  # type: ignore[method-assign]
    try:
        reason, gateway = asyncio.run(call())
    finally:
        CallSession.__init__ = init  # type: ignore[method-assign]
        logging.disable(logging.NOTSET)

    assert reason in REASONS
    assert gateway.line.closed is not None
    (session,) = sessions
    assert session._listener.taker.samples <= (gateway.line.clock.now() + AUDIO_AHEAD_S) * TELEPHONE_RATE
