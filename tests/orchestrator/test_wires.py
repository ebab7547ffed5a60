"""What every wire has to do, whatever it is: a call over it is a call. A new wire is tested by being registered."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import numpy as np
import pytest
from call_fakes import LineClock, fake_services
from hypothesis import given, settings
from hypothesis import strategies as st
from leg_gateway import LegGateway, call_on

from calling.wires.contract import BotAudio, BotClears
from calling.wires.registered import CALLER_WIRES
from calls.records import CallBegan
from orchestrator.gatekeeper import Gatekeeper, Refused
from orchestrator.session import answer_call
from orchestrator.wall_clock import CALL_RATE
from orchestrator.wires.contract import Audio, CallStarted, Event, HungUp, Key, NotOnThisWire, Played, Wire
from orchestrator.wires.registered import WIRES
from orchestrator.wires.slices import SLICE_SAMPLES
from parley.audio import FRAME_SAMPLES
from parley.settings import Settings

every_wire = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)


def run(wire: Wire, caller: Any, **params: Any) -> tuple[LegGateway, str]:
    return asyncio.run(call_on(wire, lambda: far_end_of(wire), fake_services(**params)[0], caller))


def far_end_of(wire: Wire) -> LegGateway:
    return LegGateway(CALLER_WIRES[wire.name])


def test_every_wire_has_a_side_for_the_test_caller_and_paths_of_its_own() -> None:
    paths = [path for wire in WIRES for path in wire.paths]

    assert {wire.name for wire in WIRES} == set(CALLER_WIRES)
    assert len(set(paths)) == len(paths)
    assert all(CALLER_WIRES[wire.name].path in wire.paths for wire in WIRES)


@every_wire
def test_an_order_is_taken_over_any_wire(wire: Wire) -> None:
    acts: list[str] = []

    async def caller(gateway: LegGateway) -> None:
        gateway.begin("+15550001111")
        acts.append((await gateway.hear_turn(1))["act"])
        for turn, hertz in enumerate((300, 400, 500, 600), start=2):
            await gateway.say(hertz)
            await gateway.silence(0.7)
            acts.append((await gateway.hear_turn(turn))["act"])

    gateway, reason = run(wire, caller)

    assert acts == ["greet", "ask.size", "confirm.orderDrink", "done.orderDrink", "goodbye"]
    assert reason == "goodbye" and gateway.closed == (1000, "goodbye")
    assert gateway.told("partial") and gateway.told("call")[0]["bot"] == "barista"


@every_wire
def test_a_calls_row_names_its_wire_and_the_gateways_call(wire: Wire) -> None:
    services, _ = fake_services()
    rows: list[object] = []
    services.record = rows.extend

    async def caller(gateway: LegGateway) -> None:
        gateway.begin()
        await gateway.hear_turn(1)
        gateway.hang_up()

    asyncio.run(call_on(wire, lambda: far_end_of(wire), services, caller))

    (began,) = [row for row in rows if isinstance(row, CallBegan)]
    assert began.wire == wire.name and began.gateway_id


json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
messages = st.one_of(
    st.binary(max_size=700),
    st.text(max_size=40),
    st.fixed_dictionaries(
        {"event": st.sampled_from(["start", "media", "key", "dtmf", "mark", "played", "clear", "x"]) | json_like},
        optional={name: json_like for name in ("key", "mark", "call", "caller", "start", "media", "dtmf", "streamSid")},
    ).map(json.dumps),
)


@every_wire
@settings(max_examples=60, deadline=None)
@given(sent=st.lists(messages, max_size=12))
def test_whatever_is_sent_in_a_call_is_an_event_or_counted(wire: Wire, sent: list[str | bytes]) -> None:
    logging.disable(logging.ERROR)

    async def listen() -> list[Event]:
        gateway = far_end_of(wire)
        call = wire.open(gateway, LineClock())
        gateway.begin()
        events = [await anext(call)]
        for message in [*sent, None]:
            gateway.inbound.put_nowait(message)
        while not isinstance(events[-1], HungUp):
            events.append(await anext(call))
        assert all(isinstance(value, int | float) for value in call.figures().values())
        return events

    try:
        events = asyncio.run(listen())
    finally:
        logging.disable(logging.NOTSET)

    assert isinstance(events[0], CallStarted)
    assert all(isinstance(event, Audio | Key | Played | HungUp) for event in events[1:])
    assert all(event.mark.encode() for event in events if isinstance(event, Played))


@every_wire
def test_the_bots_audio_comes_at_the_wires_rate_and_whole(wire: Wire) -> None:
    async def caller(gateway: LegGateway) -> None:
        gateway.begin()
        await gateway.hear_turn(1)
        gateway.hang_up()

    gateway, reason = run(wire, caller)

    words = len(gateway.told("reply")[0]["text"].split())
    audio = gateway.audio().astype(np.float64)
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    assert reason == "caller_hung_up"
    assert len(audio) == pytest.approx(words * 0.2 * gateway.rate, abs=words)
    assert spectrum.argmax() * gateway.rate / len(audio) == pytest.approx(1200, abs=5)


@every_wire
def test_talking_over_the_bot_takes_back_what_is_not_heard(wire: Wire) -> None:
    async def caller(gateway: LegGateway) -> None:
        gateway.begin()
        while not gateway.told("turn"):
            await gateway.changed()
        await gateway.silence(1.0)
        await gateway.say(300)
        await gateway.silence(0.7)
        await gateway.hear_turn(2)
        gateway.hang_up()

    gateway, _ = run(wire, caller)

    assert gateway.told("interrupted")[0]["heard"].startswith("Hello, this is the")
    assert sum(isinstance(event, BotClears) for event in gateway.heard) == 1
    assert gateway.told("reply")[-1]["act"] == "ask.size"


@every_wire
def test_the_callers_audio_comes_in_whole_frames_at_the_calls_rate_gapless(wire: Wire) -> None:
    async def listen() -> list[Audio]:
        gateway = far_end_of(wire)
        call = wire.open(gateway, LineClock())
        gateway.begin()
        started, heard = await anext(call), []
        assert isinstance(started, CallStarted) and started.wire == wire.name and started.gateway_id
        for size in (0.007, 0.02, 0.5, 0.033, 0.3):
            pcm = np.full(round(size * gateway.rate), 5000, dtype=np.int16)
            gateway.inbound.put_nowait(gateway.leg.audio(pcm)[0])
        gateway.hang_up()
        while not isinstance(event := await anext(call), HungUp):
            assert isinstance(event, Audio)
            heard.append(event)
        assert await anext(call) is event
        return [*heard, *call.flush()]

    heard = asyncio.run(listen())

    ends = np.cumsum([len(audio.samples) for audio in heard]).tolist()
    assert [audio.at for audio in heard] == [0, *ends[:-1]]
    assert all(audio.rate == CALL_RATE and audio.samples.dtype == np.int16 for audio in heard)
    assert all(not len(a.samples) % FRAME_SAMPLES and len(a.samples) <= SLICE_SAMPLES for a in heard)
    assert 0.86 * CALL_RATE - 2 * FRAME_SAMPLES <= ends[-1] <= 0.86 * CALL_RATE


@every_wire
@pytest.mark.parametrize("half", ["\ud800", "+1\udfff555", "a\ud83d"])
def test_half_a_character_in_what_a_gateway_writes_ends_no_call(wire: Wire, half: str) -> None:
    """JSON can write a lone surrogate, and what it cannot be encoded to once ended `answer_call`."""
    services, _ = fake_services()
    good, callers = services.assign, []

    def assign(caller: str, call_id: str) -> Any:
        callers.append(caller)
        return good(caller, call_id)

    services.assign = assign

    async def caller(gateway: LegGateway) -> None:
        gateway.begin(half)
        await gateway.hear_turn(1)
        gateway.hang_up()

    gateway, reason = asyncio.run(call_on(wire, lambda: far_end_of(wire), services, caller))

    assert reason == "caller_hung_up"
    assert len(callers) == 1 and callers[0].encode() and "\ufffd" in callers[0]
    assert gateway.told("reply")[0]["act"] == "greet"


@every_wire
@pytest.mark.parametrize("first", ["not json", "[]", '{"event":"hang_up"}', '{"event":"stop"}', b"\x00\x01", b"\x00"])
def test_what_is_no_beginning_is_closed_with_a_reason(wire: Wire, first: str | bytes) -> None:
    async def begin() -> tuple[str, tuple[int, str] | None]:
        gateway = far_end_of(wire)
        for _ in range(30):  # what a wire does not know is borne for a while
            gateway.inbound.put_nowait(first)
        services, _ = fake_services()
        return await answer_call(wire.open(gateway, services.clock), services), gateway.closed

    reason, closed = asyncio.run(begin())

    assert reason == "wire_error"
    assert closed is not None and closed[0] == 1002 and "send" in closed[1]


@every_wire
def test_nothing_that_is_sent_ends_a_call_but_a_hang_up_and_too_much_rubbish(wire: Wire) -> None:
    rubbish = ["{", b"\x01", json.dumps({"event": "start"}), json.dumps({"event": "news"}), json.dumps({"event": 5})]

    async def caller(gateway: LegGateway) -> None:
        gateway.begin()
        await gateway.hear_turn(1)
        for message in rubbish:
            gateway.inbound.put_nowait(message)
        await gateway.say(300)
        await gateway.silence(0.7)
        await gateway.hear_turn(2)
        for _ in range(20):
            gateway.inbound.put_nowait("{")
        while gateway.closed is None:
            await gateway.silence(0.5)

    gateway, reason = run(wire, caller)

    assert gateway.told("reply")[1]["act"] == "ask.size"
    assert reason == "wire_error" and gateway.closed is not None and gateway.closed[0] == 1011


@every_wire
def test_what_a_wire_cannot_do_it_refuses_and_the_rest_reaches_the_gateway(wire: Wire) -> None:
    async def act() -> list[str]:
        gateway = far_end_of(wire)
        call = wire.open(gateway, LineClock())
        gateway.begin()
        await anext(call)
        done = []
        for name, can, action in (
            ("key", call.capabilities.keys_out, call.send_key("5")),
            ("transfer", call.capabilities.transfer, call.transfer("+15550002222")),
        ):
            try:
                await action
                done.append(name)
            except NotOnThisWire:
                assert not can
        assert [getattr(event, "kind", "") for event in gateway.heard] == done
        return done

    assert asyncio.run(act()) == (["key", "transfer"] if wire.name == "plain" else [])


@every_wire
def test_speech_of_another_rate_is_played_at_the_wires(wire: Wire) -> None:
    async def play() -> tuple[LegGateway, list[int]]:
        gateway = far_end_of(wire)
        call = wire.open(gateway, LineClock())
        gateway.begin()
        await anext(call)
        wave = (8000 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)).astype(np.int16)
        heard = [len(await call.play(part, 22_050, last=at == 9)) for at, part in enumerate(np.split(wave, 10))]
        return gateway, heard

    gateway, heard = asyncio.run(play())

    audio = gateway.audio()
    assert len(audio) == pytest.approx(gateway.rate, abs=2)
    assert sum(heard) == pytest.approx(CALL_RATE, abs=10)
    assert np.abs(np.fft.rfft(audio)).argmax() == pytest.approx(440, abs=1)
    assert sum(isinstance(event, BotAudio) for event in gateway.heard) == 10


TOKEN, KEY = "token-of-the-site", "12345678901234567890123456789012"


@every_wire
def test_the_sites_token_opens_every_wire_and_no_page_does(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_SITE_TOKEN", TOKEN)
    keeper = Gatekeeper.of(Settings(), wire)
    bearer = {"authorization": f"Bearer {TOKEN}"}

    assert keeper.look(bearer, wire.paths[0]).may_trace
    assert keeper.look({}, wire.paths[0], "", TOKEN).may_trace
    for headers, status in (({}, 401), (bearer | {"origin": "https://evil.example.com"}, 403)):
        with pytest.raises(Refused) as refused:
            keeper.look(headers, wire.paths[0])
        assert refused.value.status == status


@every_wire
def test_a_site_that_only_twilio_may_call_is_open_to_nobody_else(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_TWILIO_AUTH_TOKEN", KEY)
    keeper = Gatekeeper.of(Settings(), wire)

    with pytest.raises(Refused) as refused:
        keeper.look({"host": "voice.example.com"}, wire.paths[0])

    assert refused.value.status == 401
