"""The doors of a replica over real connections: who may open a call, who waits where, and what a refusal looks like."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import websockets
from test_app import models as models
from test_app import serving, spoken
from test_app import site as site

from calling.caller import CallOptions, place_call, place_calls
from orchestrator.gatekeeper import Gatekeeper, Refused
from orchestrator.waiting import GRACE_S, WaitingRoom
from orchestrator.wires.twilio.messages import Connected, Start, parse, render
from orchestrator.wires.twilio.signature import TwilioSignature, sign
from parley import doctor
from parley.errors import ParleyError
from parley.settings import Settings, settings

KEY, TOKEN = "12345678901234567890123456789012", "token-of-the-site"
URL = "wss://voice.example.com/twilio"


def twilio(url: str, key: str = KEY) -> str:
    """Written from Twilio's page, not from our code."""
    return base64.b64encode(hmac.new(key.encode(), url.encode(), hashlib.sha1).digest()).decode()


# Who


@pytest.mark.parametrize(
    ("headers", "path_token", "may_trace"),
    [
        ({"authorization": f"Bearer {TOKEN}"}, "", True),
        ({"authorization": f"bearer  {TOKEN}"}, "", True),
        ({}, TOKEN, True),
        ({"x-twilio-signature": twilio(URL)}, "", False),
        ({"x-twilio-signature": twilio("wss://voice.example.com:443/twilio")}, "", False),
        ({"x-twilio-signature": twilio(URL + "/")}, "", False),
        ({"x-twilio-signature": twilio(URL, "the new key of the account")}, "", False),
        ({"authorization": f"Bearer {TOKEN}", "origin": "https://demo.example.com"}, "", True),
    ],
)
def test_a_proof_opens_the_door(headers: dict[str, str], path_token: str, may_trace: bool) -> None:
    keeper = Gatekeeper(
        TOKEN,
        TwilioSignature([KEY, "the new key of the account"], "wss://voice.example.com"),
        ["https://demo.example.com/"],
    )

    assert keeper.look({"host": "10.0.0.7:8600"} | headers, "/twilio", "", path_token).may_trace is may_trace


@pytest.mark.parametrize(
    ("headers", "path_token", "status"),
    [
        ({}, "", 401),
        ({"authorization": TOKEN}, "", 401),
        ({"authorization": f"Basic {TOKEN}"}, "", 401),
        ({"authorization": "Bearer "}, "", 401),
        ({"authorization": f"Bearer {TOKEN}x"}, "token", 401),
        ({"x-twilio-signature": ""}, "", 401),
        ({"x-twilio-signature": "é" * 28}, "", 401),
        ({"x-twilio-signature": twilio(URL, "another key")}, "", 401),
        ({"x-twilio-signature": twilio("https://voice.example.com/twilio")}, "", 401),
        ({"x-twilio-signature": twilio("wss://voice.example.com/ws")}, "", 401),
        ({"x-twilio-signature": twilio("wss://evil.example.com/twilio"), "host": "evil.example.com"}, "", 401),
        ({"authorization": f"Bearer {TOKEN}", "origin": "https://evil.example.com"}, "", 403),
        ({"authorization": f"Bearer {TOKEN}", "origin": "null"}, "", 403),
    ],
)
def test_no_proof_or_another_ones_is_refused(headers: dict[str, str], path_token: str, status: int) -> None:
    keeper = Gatekeeper(TOKEN, TwilioSignature([KEY], "wss://voice.example.com"), ["https://demo.example.com"])

    with pytest.raises(Refused) as refused:
        keeper.look({"host": "voice.example.com"} | headers, "/twilio", "", path_token)

    assert refused.value.status == status
    assert TOKEN not in str(refused.value)


def test_who_is_refused_is_told_what_his_wires_proof_asks_for() -> None:
    class Badge:
        mend = "show the badge"

        def proves(self, headers: Mapping[str, str], target: str) -> bool:
            return False

    for proof, mend in ((Badge(), Badge.mend), (TwilioSignature([KEY]), "sign it as Twilio does")):
        with pytest.raises(Refused, match=f"{mend}, or send the site's token"):
            Gatekeeper(TOKEN, proof).look({}, "/x")


def test_a_signature_covers_the_host_and_the_query_where_no_public_url_is_set() -> None:
    keeper = Gatekeeper("", TwilioSignature([KEY]))
    url = "wss://pbx.example.com:8443/twilio?line=2"
    headers = {"host": "pbx.example.com:8443", "x-twilio-signature": sign(KEY.encode(), url).decode()}

    assert not keeper.look(headers, "/twilio", "line=2").may_trace
    with pytest.raises(Refused):
        keeper.look(headers, "/twilio", "line=3")


def test_a_site_without_a_secret_takes_everybody_but_a_page_of_somebody_elses() -> None:
    assert Gatekeeper().look({}, "/twilio").may_trace
    with pytest.raises(Refused):
        Gatekeeper().look({"origin": "http://localhost:3000"}, "/twilio")


def test_such_a_site_is_for_this_machine_alone(site: Settings) -> None:
    from orchestrator.app import start_app

    with pytest.raises(ParleyError, match="anybody .* 0.0.0.0.*PARLEY_TWILIO_AUTH_TOKEN"):
        start_app("barista", site.model_copy(update={"host": "0.0.0.0"}))


@pytest.mark.parametrize(
    ("change", "status"),
    [({}, "warning"), ({"host": "0.0.0.0"}, "missing"), ({"host": "0.0.0.0", "site_token": "x"}, "ok")],
)
def test_doctor_says_who_may_call(change: dict[str, str], status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in change.items():
        monkeypatch.setenv(f"PARLEY_{name.upper()}", value)
    (found,) = doctor._callers(settings())

    assert found.status == status


def test_the_test_callers_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(CallOptions(token=TOKEN))


def test_with_a_token_calls_are_traced_and_without_refused_before_the_upgrade(
    site: Settings, models: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PARLEY_SITE_TOKEN", TOKEN)
    monkeypatch.setenv("PARLEY_TWILIO_AUTH_TOKEN", KEY)

    async def signed(address: str) -> list[str]:
        headers = {"X-Twilio-Signature": twilio(f"wss://{address}/twilio")}
        async with websockets.connect(f"ws://{address}/twilio", additional_headers=headers) as line:
            await line.send(render(Connected()))
            parameters = {"parley_trace": "1", "parley_skip_greeting": "1"}
            await line.send(render(Start("MZ1", "CA1", "", 1, parameters)))
            return [type(parse(await line.recv())).__name__ for _ in range(3)]

    async def refused(address: str, path: str, **headers: str) -> tuple[int, str, dict[str, Any]]:
        with pytest.raises(websockets.InvalidStatus) as error:
            await websockets.connect(f"ws://{address}{path}", additional_headers=headers)
        response = error.value.response
        return response.status_code, response.headers["Content-Type"], json.loads(response.body)

    with serving(site, models) as address:
        own = asyncio.run(place_call([spoken(700)], CallOptions(f"ws://{address}/twilio", False, token=TOKEN)))
        heard = asyncio.run(signed(address))
        nobody = asyncio.run(refused(address, "/twilio"))
        wrong = asyncio.run(refused(address, "/twilio/wrong-token-in-the-path"))
        nowhere = asyncio.run(refused(address, "/elsewhere"))
        page = asyncio.run(refused(address, f"/twilio/{TOKEN}", Origin="https://evil.example.com"))
        with pytest.raises(ParleyError, match="who calls.*PARLEY_SITE_TOKEN"):
            asyncio.run(place_call([spoken(700)], CallOptions(f"ws://{address}/twilio")))

    assert own.end == "handover"
    assert [event.kind for event in own.events if event.kind == "call"] == ["call"]
    assert "Trace" not in heard and "Media" in heard, "a carrier's call greets, and is not told what the bot hears"
    for status, (got, kind, body) in zip((401, 401, 403, 404), (nobody, wrong, page, nowhere), strict=True):
        assert (got, kind, body["status"]) == (status, "application/problem+json", status)
    assert "token-in-the-path" not in caplog.text and TOKEN not in caplog.text


# Where those wait who do not start


def test_a_newcomer_counts_as_a_call_for_a_moment_and_then_takes_no_line() -> None:
    room = WaitingRoom(most=3)
    sent_away: list[str] = []
    places = [room.enter("a", now, lambda name=name: sent_away.append(name)) for now, name in ((0.0, "1"), (0.5, "2"))]

    assert room.newcomers(0.9) == 2
    assert room.newcomers(GRACE_S + 0.2) == 1
    assert room.newcomers(9) == 0
    room.leave(places[0])  # type: ignore[arg-type]
    room.leave(places[0])  # type: ignore[arg-type]
    assert len(room) == 1 and sent_away == []


def test_where_all_places_are_taken_the_longest_waiting_makes_place_but_no_newcomer_does() -> None:
    room = WaitingRoom(most=2)
    gone: list[int] = []
    for number in range(2):
        assert room.enter("a", 0.0, lambda number=number: gone.append(number))

    assert room.enter("a", 0.5, lambda: None) is None
    assert room.enter("b", 2.0, lambda: gone.append(2)) is not None
    assert gone == [0]
    assert len(room) == 2


def test_one_address_waits_in_a_part_of_the_room_and_the_machines_own_in_all_of_it() -> None:
    room = WaitingRoom(most=4, most_a_peer=2)
    for _ in range(2):
        assert room.enter("203.0.113.9", 0.0, lambda: None)

    assert room.enter("203.0.113.9", 0.1, lambda: None) is None
    assert room.enter("198.51.100.1", 0.1, lambda: None)
    assert room.enter("203.0.113.9", 2.0, lambda: None)
    assert len(room) == 3
    local = WaitingRoom(most=4, most_a_peer=2)
    assert all(local.enter("127.0.0.1", 0.0, lambda: None, local=True) for _ in range(4))


def test_idle_connections_take_no_lines(site: Settings, models: Any) -> None:
    """45 connections that say nothing, on a site of two lines, and then somebody calls."""

    async def idle(address: str) -> tuple[list[int], str, dict[str, Any]]:
        url = f"ws://{address}/twilio"
        lines = []
        refused = 0
        while len(lines) + refused < 45:
            try:
                lines.append(await websockets.connect(url))
            except websockets.InvalidStatus as error:
                refused += error.response.status_code == 503
        async with httpx.AsyncClient() as client:
            health = (await client.get(f"http://{address}/healthz")).json()
        report = None
        while report is None:  # the newcomers stop counting as calls a second later
            try:
                report = await place_call([spoken(700)], CallOptions(url, greeting=False))
            except ParleyError:
                await asyncio.sleep(0.05)
        for line in lines:
            await line.close()
        return [len(lines), refused], report.end, health

    with serving(site, models) as address:
        (taken, refused), end, health = asyncio.run(idle(address))

    assert end == "handover"
    assert set(health["loops"]) == {"routing of barista-follower", "call-leases", "row-writer"}
    assert health["loops"]["routing of barista-follower"]["ok"]
    assert health["calls"] == 0 and taken <= 24 and taken + refused == 45


def test_a_set_of_calls_waits_for_free_lines(site: Settings, models: Any) -> None:
    one_line = site.model_copy(update={"max_calls": 1})

    with serving(one_line, models) as address:
        url, tries = f"ws://{address}/twilio", 1200  # a minute, also on a busy machine
        options = CallOptions(url, greeting=False, busy_wait_s=0.05, busy_tries=tries)
        reports = asyncio.run(place_calls([spoken(700)] * 3, options, parallel=3))

    assert [report.end for report in reports] == ["handover"] * 3
