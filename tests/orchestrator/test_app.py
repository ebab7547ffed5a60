"""The application over a real websocket: calls with fake models in this process, and under Ray Serve."""

from __future__ import annotations

import asyncio
import csv
import ipaddress
import os
import socket
import stat
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import uvicorn
import websockets
from fake_models import FakeModels, ReadyEngine, tone
from release_site import add_versions, make_site, write_seed

import orchestrator.app
from calling.caller import CallOptions, place_call, place_calls
from calling.report import CallReport, summarise
from calling.speech import Speech
from orchestrator.api import create_api
from orchestrator.app import RunningApp, start_app
from orchestrator.rehearsal import PROOF_HOLDS_S
from orchestrator.replica import Replica
from orchestrator.wires.twilio.messages import Connected, Mark, Media, Start, Trace, parse, render
from parley.audio import TELEPHONE_RATE
from parley.bot import load_bot
from parley.bundle import FAMILIES
from parley.errors import ParleyError
from parley.recordings import Recording
from parley.settings import Settings
from registry.releasing.seeding import mend_releases
from registry.writing import open_for_writing


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a release of its own, so that no test depends on what is published."""
    made = make_site(tmp_path).model_copy(update={"engine": "triton", "max_calls": 2})
    monkeypatch.setenv("PARLEY_CONTROL_TOKEN", "secret")
    with open_for_writing(made) as registry:
        add_versions(registry)
        write_seed(made, dict.fromkeys(FAMILIES, 1), number=3)
        mend_releases(registry)
    return made


@contextmanager
def serving(site: Settings, models: FakeModels, engine: ReadyEngine | None = None) -> Iterator[str]:
    """The API under uvicorn in a thread; its ``host:port``."""
    api = create_api(lambda: Replica("barista", site, engine=engine or ReadyEngine(), pool=models))
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="warning", lifespan="on"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        host, port = listener.getsockname()
        for _ in range(200):
            try:
                httpx.get(f"http://{host}:{port}/healthz", timeout=10)
                break
            except httpx.TransportError:
                threading.Event().wait(0.05)
        yield f"{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def models() -> FakeModels:
    return FakeModels(load_bot("barista"), words_s=0.03)


def spoken(hertz: int, **expected: Any) -> Speech:
    pcm = np.concatenate([tone(hertz, 0.5), np.zeros(800, dtype=np.int16)])
    recording = Recording(f"{hertz}.wav", Path(f"{hertz}.wav"), **expected)
    return Speech(recording, pcm, TELEPHONE_RATE, TELEPHONE_RATE // 2)


def test_two_calls_at_once_are_both_taken_to_their_end(site: Settings, models: FakeModels, tmp_path: Path) -> None:
    wav, png = tmp_path / "call.wav", tmp_path / "call.png"

    async def both(url: str) -> list[CallReport]:
        options = CallOptions(url)
        latte = [spoken(300), spoken(400), spoken(500), spoken(600)]
        mocha = [spoken(800), spoken(500), spoken(700)]
        return await asyncio.gather(place_call(latte, options, wav=wav, png=png), place_call(mocha, options))

    with serving(site, models) as address:
        first, second = asyncio.run(both(f"ws://{address}/twilio"))
        fallbacks = httpx.get(f"http://{address}/healthz").json()["fallbacks"]

    acts = [[event.data["act"] for event in report.events if event.kind == "reply"] for report in (first, second)]
    assert acts[0] == ["greet", "ask.size", "confirm.orderDrink", "done.orderDrink", "goodbye"]
    assert acts[1] == ["greet", "confirm.orderDrink", "done.orderDrink", "handover"]
    assert (first.end, second.end) == ("goodbye", "handover")
    assert fallbacks == {}
    waits = [said.voice_to_voice_ms for said in first.said + second.said]
    assert all(wait is not None and wait >= 300 for wait in waits), waits
    stereo, rate = soundfile.read(wav)
    assert rate == TELEPHONE_RATE and stereo.shape[1] == 2 and np.abs(stereo).max(axis=0).min() > 0.1
    assert png.read_bytes().startswith(b"\x89PNG")


def test_commands_are_judged_by_intent_and_every_slot(site: Settings, models: FakeModels) -> None:
    right = {"coffeeDrink": "mocha", "size": "small"}
    commands = [
        spoken(800, intent="orderDrink", slots=right),
        spoken(800, intent="orderDrink", slots={"coffeeDrink": "mocha"}),
    ]

    with serving(site, models) as address:
        reports = asyncio.run(place_calls(commands, CallOptions(f"ws://{address}/ws", greeting=False), parallel=2))

    summary = summarise(reports)
    assert summary["calls"] == 2
    assert summary["command_acceptance"] == 0.5
    assert set(summary["voice_to_voice_ms"]) == {"p50", "p95"}
    assert [row["accepted"] for row in summary["rows"]] == [True, False]


def test_a_caller_too_many_is_refused_before_the_upgrade_and_a_place_freed_is_given_again(
    site: Settings, models: FakeModels
) -> None:
    one_place = site.model_copy(update={"max_calls": 1})

    async def crowd(url: str) -> None:
        async with websockets.connect(url) as first:
            await first.send(render(Connected()))
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(url)
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"]
        for _ in range(100):
            try:
                async with websockets.connect(url):
                    return
            except websockets.InvalidStatus:
                await asyncio.sleep(0.02)
        raise AssertionError("the place was not given again")

    with serving(one_place, models) as address:
        asyncio.run(crowd(f"ws://{address}/twilio"))


def test_a_gateway_that_breaks_the_rules_is_told_why_and_others_go_on(site: Settings, models: FakeModels) -> None:
    async def broken_and_whole(url: str) -> tuple[websockets.Close | None, CallReport]:
        async with websockets.connect(url) as socket_:
            await socket_.send("{}")
            with pytest.raises(websockets.ConnectionClosed) as ended:
                await socket_.recv()
            closed = ended.value.rcvd
        return closed, await place_call([spoken(700)], CallOptions(url, greeting=False))

    with serving(site, models) as address:
        closed, report = asyncio.run(broken_and_whole(f"ws://{address}/twilio"))

    assert closed is not None and closed.code == 1002 and "event" in closed.reason
    assert report.end == "handover"


def test_health_and_readiness_are_served_and_no_other_routes(site: Settings, models: FakeModels) -> None:
    with serving(site, models) as address:
        ready = httpx.get(f"http://{address}/readyz")
        models.down.update(FAMILIES)  # a server that calls itself ready is not taken at its word
        time.sleep(PROOF_HOLDS_S)
        not_ready = httpx.get(f"http://{address}/readyz")
        experiments = httpx.get(f"http://{address}/v1/experiments", headers={"Authorization": "Bearer secret"})

    assert (ready.status_code, ready.json()["release"], ready.json()["pointer"]) == (200, 3, 1)
    assert not_ready.status_code == 503 and not any(not_ready.json()["stages"].values())
    assert experiments.status_code == 404, "they have a process of their own"


def test_warm_prompts_are_said_without_the_voice(site: Settings, models: FakeModels) -> None:
    with serving(site, models) as address:
        models.down.update({"stt", "nlu", "nlg", "tts"})
        report = asyncio.run(place_call([spoken(300)], CallOptions(f"ws://{address}/twilio")))

    assert [event.data["act"] for event in report.events if event.kind == "reply"] == ["greet", "apology"]
    assert report.end == "handover"


def test_nobody_there_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(ParleyError, match="nobody answers.*parley serve"):
        asyncio.run(place_call([spoken(300)], CallOptions(f"ws://127.0.0.1:{port}/twilio")))


def test_a_port_in_use_is_said_before_anything_starts(site: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ParleyError, match=f"port {port}"):
            start_app("barista", site.model_copy(update={"port": port}))


@contextmanager
def another_site_here() -> Iterator[None]:
    """Ray's default ports of its proxy and of the first replica are taken, as another site on this machine would."""
    with ExitStack() as held:
        for port in (8500, 30000):
            with suppress(OSError):  # by somebody else
                held.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def known_to_haproxy() -> set[str]:
    """The kinds of servers of the application that HAProxy may send calls to now."""
    page = httpx.get(f"http://127.0.0.1:{os.environ['RAY_SERVE_HAPROXY_STATS_PORT']}/stats;csv", timeout=10).text
    names = [row["svname"] for row in csv.DictReader(page.splitlines())]
    return {name.split("-")[0] for name in names if name.startswith("SERVE_")}


def test_an_application_has_started_when_haproxy_knows_its_replicas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = iter(["", "SERVE_REPLICA_a,DOWN", "SERVE_REPLICA_a,UP", "SERVE_REPLICA_a,UP\nSERVE_REPLICA_b,UP 1/2"])
    asked: list[str] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"svname,status\nSERVE_PROXY_ACTOR,UP\n{next(states)}\n".encode())

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", str(server.server_port))
        orchestrator.app._await_balancer(2)
        server.shutdown()

    assert asked == ["/stats;csv"] * 4


def listening() -> set[str]:
    """Addresses at which this process and those it started listen, without 127.0.0.1."""
    family = {os.getpid()}
    for _ in range(6):
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(entry.read_text().rpartition(")")[2].split()[1]) in family:
                    family.add(int(entry.parent.name))
    owned = set()
    for pid in family:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                owned.add(os.readlink(link))
    found = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in owned:
                address = fields[1]
                words = bytes.fromhex(address.split(":")[0])
                raw = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
                host = ipaddress.ip_address(raw)
                known = getattr(host, "ipv4_mapped", None) or host
                found.add(f"{known}:{int(address.split(':')[1], 16)}")
    return {address for address in found if not address.startswith("127.0.0.1:")}


async def floods(app: RunningApp) -> tuple[httpx.Response, httpx.Response, str, str | None]:
    """A body that does not end, without the token and with it; a message that is too long; what is inflated."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" " * 65_536

    async with httpx.AsyncClient(timeout=30) as client:
        url = f"{app.http}/v1/experiments"
        stranger = await client.post(url, content=endless())
        known = await client.post(url, content=endless(), headers={"Authorization": "Bearer secret"})
    async with websockets.connect(app.address) as line:
        extensions = line.response.headers.get("Sec-WebSocket-Extensions") if line.response else ""
        try:
            await line.send("x" * 3_000_000)
            await line.recv()
        except websockets.ConnectionClosed:
            return stranger, known, "closed", extensions
    return stranger, known, "taken", extensions


@pytest.mark.serve
def test_ray_serve_answers_over_the_wire_without_torch_even_with_no_models(site: Settings) -> None:
    """No graph can be loaded: the call is answered with a spoken apology and put through, and other routes work."""

    async def call(url: str) -> list[object]:
        async with websockets.connect(url) as line:
            await line.send(render(Connected()))
            await line.send(render(Start("MZ1", "CA1", "", 1, {"parley_trace": "1"})))
            events = []
            async with asyncio.timeout(30):
                async for message in line:
                    events.append(parse(message))
                    if isinstance(events[-1], Mark):
                        await line.send(render(events[-1]))
            return events

    # Everything but the front listens on 127.0.0.1, so another address of this machine shows what follows the setting.
    own = site.model_copy(update={"engine": "onnx", "host": "127.0.0.2"})
    with another_site_here(), start_app("barista", own) as app:
        known = known_to_haproxy()
        elsewhere = listening()
        private = stat.S_IMODE(Path(os.environ["RAY_SERVE_HAPROXY_SOCKET_PATH"]).parent.stat().st_mode)
        stranger, too_long, flood, extensions = asyncio.run(floods(app))
        events = asyncio.run(call(app.address))
        health = httpx.get(f"{app.http}/healthz", timeout=10).json()
        readiness = httpx.get(f"{app.http}/readyz", timeout=10)

        async def fill() -> int:
            async with websockets.connect(app.address) as first, websockets.connect(app.address):
                assert first.response is not None and "Sec-WebSocket-Extensions" not in first.response.headers
                with pytest.raises(websockets.InvalidStatus) as refused:
                    await websockets.connect(app.address)
                return int(refused.value.response.status_code)

        refused = asyncio.run(fill())

    audio = b"".join(event.payload for event in events if isinstance(event, Media))
    assert len(audio) > TELEPHONE_RATE
    assert [event.data["reason"] for event in events if isinstance(event, Trace) and event.kind == "end"] == [
        "handover"
    ]
    assert health["torch_loaded"] is False
    assert readiness.status_code == 503
    assert refused == 503
    assert {"SERVE_REPLICA_parley", "SERVE_REPLICA_rest"} <= known, "the first call crosses Ray's own proxy"
    assert elsewhere == {f"127.0.0.2:{app.port}"}
    assert private == 0o700
    assert (stranger.status_code, too_long.status_code) == (401, 413)
    assert stranger.headers["content-type"] == too_long.headers["content-type"] == "application/problem+json"
    assert (flood, extensions) == ("closed", None)
