"""The whole path with its real parts: tritonserver, Ray Serve behind HAProxy, the starter versions, the Twilio wire."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import soundfile
from rich.console import Console
from starters import copy_starters

from calling.caller import CallOptions, place_call, place_calls
from calling.report import CallReport, summarise
from calling.speech import Speech, load_speech, speech_of_file
from calling.synthetic import synthetic_caller
from cli import call
from experiments import commands
from experiments.store import ExperimentStore
from models.splits import split_of
from orchestrator.app import RunningApp
from orchestrator.running import running_site
from parley.audio import TELEPHONE_RATE
from parley.recordings import read_recordings
from parley.serving.triton_record import read_record
from parley.settings import Settings
from registry.served import ServedView
from registry.versions.publish import publish
from registry.writing import open_for_writing

pytestmark = [pytest.mark.serve, pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-this-test"
EXPERIMENT = "nlu-two"


@dataclass(frozen=True)
class Site:
    settings: Settings
    app: RunningApp
    caller: list[Speech]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The starter versions, served from a copy of the repository."""
    folder = tmp_path_factory.mktemp("site")
    repo = folder / "triton_repo"
    copy_starters("barista", repo)
    settings = Settings(
        bots_dir=ROOT / "bots",
        repo_dir=repo,
        state_dir=folder / "var",
        port=0,
        max_calls=8,
        answer_within_ms=60_000,  # on a machine that runs other tests too nobody is to be refused here
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PARLEY_CONTROL_TOKEN", TOKEN)
        with running_site("barista", settings, Console(stderr=True)) as app:
            yield Site(settings, app, [speech_of_file(p, TELEPHONE_RATE) for p in synthetic_caller(folder)])


def _bundle_of(version: Path, folder: Path) -> Path:
    """A published version as the bundle it was."""
    from parley.bundle import read_manifest, write_bundle

    manifest, bundle = read_manifest(version), folder / "bundle"
    shutil.copytree(version, bundle, ignore=shutil.ignore_patterns("model.sig", "config*", "card.md"))
    write_bundle(bundle, manifest.model_copy(update={"version": None}))
    return bundle


def _call(site: Site, said: list[Speech], caller: str = "") -> CallReport:
    return asyncio.run(place_call(said, CallOptions(site.app.address, caller=caller)))


def _events(report: CallReport, kind: str) -> list[dict[str, object]]:
    return [dict(e.data) for e in report.events if e.kind == kind]


def test_an_order_is_taken_changed_and_confirmed_over_several_turns(site: Site) -> None:
    report = _call(site, site.caller)

    replies = [str(e["text"]) for e in _events(report, "reply")]
    meant = _events(report, "understanding")
    assert "AI" in replies[0]
    assert [m["intent"] for m in meant] == ["orderDrink", "change", "affirm", "goodbye"]
    assert meant[0]["slots"] == {"coffeeDrink": "latte", "size": "medium", "milkAmount": "skim milk"}
    assert meant[1]["form"] == {"coffeeDrink": "latte", "size": "large", "milkAmount": "skim milk"}
    assert "large" in replies[2] and "latte" in replies[2] and "skim milk" in replies[2]
    assert report.end == "goodbye"
    assert all(one.voice_to_voice_ms is not None for one in report.said)
    assert any(e.kind == "partial" and e.data["text"] for e in report.events)


def test_two_calls_at_once_do_not_mix(site: Site) -> None:
    first, change = site.caller[0], site.caller[1]

    async def both() -> list[CallReport]:
        options = CallOptions(site.app.address)
        return list(await asyncio.gather(place_call([first], options), place_call([first, change], options)))

    one, two = asyncio.run(both())
    assert one.call_id != two.call_id
    assert _events(one, "understanding")[-1]["form"] == {
        "coffeeDrink": "latte",
        "size": "medium",
        "milkAmount": "skim milk",
    }
    assert _events(two, "understanding")[-1]["form"] == {
        "coffeeDrink": "latte",
        "size": "large",
        "milkAmount": "skim milk",
    }


def test_parley_call_takes_an_order_over_the_plain_wire(site: Site, tmp_path: Path) -> None:
    """16 kHz at the gateway, 8 kHz in the models: they meet at the door."""
    files = [str(said.recording.path) for said in site.caller]
    url = f"{site.app.http.replace('http', 'ws', 1)}/plain"

    status = call.main([*files, "--wire", "plain", "--url", url, "--out", str(tmp_path), "--json", str(tmp_path / "j")])

    rows = json.loads((tmp_path / "j").read_text())["rows"]
    assert status == 0
    assert [row["intent"] for row in rows] == ["orderDrink", "change", "affirm", "goodbye"]
    assert rows[0]["slots"] == {"coffeeDrink": "latte", "size": "medium", "milkAmount": "skim milk"}
    (wav,) = tmp_path.glob("*.wav")
    assert soundfile.info(wav).samplerate == 16_000


def test_the_serving_process_never_loads_torch(site: Site) -> None:
    health = httpx.get(f"{site.app.http}/healthz", timeout=10, trust_env=False).json()
    assert health["torch_loaded"] is False and health["warm"] is True

    record = read_record(site.settings.state_dir)
    assert record is not None
    assert "libtorch" not in Path(f"/proc/{record.pid}/maps").read_text()


def _eventually(what: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)


def test_a_call_is_answered_by_its_arms_version_and_follows_start_and_stop(site: Site, tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = f"{site.app.http}/v1/experiments"
    with open_for_writing(site.settings) as registry:
        second = publish(_bundle_of(site.settings.repo_dir / "barista_nlu" / "1", tmp_path), registry)
        assert second == 2
        ServedView(registry).ensure([("barista_nlu", second)])
    commands.start(EXPERIMENT, "nlu", 1, 2, (0.5, 0.5), 1.0, "tester", "end to end", bot="barista", site=site.settings)
    ids, out = tmp_path / "ids.txt", tmp_path / "arms.csv"
    ids.write_text("".join(f"+1555000{n:04d}\n" for n in range(40)))
    commands.assign(ids, out, site=site.settings)
    arms = dict(line.split(",") for line in out.read_text().splitlines()[1:])
    treated = next(c for c, arm in arms.items() if arm == "treatment")
    control = next(c for c, arm in arms.items() if arm == "control")

    def follows() -> bool:
        return _events(_call(site, [], treated), "call")[0]["versions"]["nlu"] == 2  # type: ignore[index]

    _eventually(follows)
    served = {c: _call(site, site.caller[:1], c) for c in (treated, control)}
    assert _events(served[treated], "call")[0]["versions"]["nlu"] == 2  # type: ignore[index]
    assert _events(served[control], "call")[0]["versions"]["nlu"] == 1  # type: ignore[index]

    def exposure() -> list[tuple[str | None, int, str]]:
        with ExperimentStore.at(site.settings) as store:
            rows = store.exposures(served[treated].call_id)
        return [(r.arm, r.version, r.reason) for r in rows if r.stage == "nlu"]

    _eventually(lambda: ("treatment", 2, "experiment") in exposure())
    assert httpx.post(f"{url}/{EXPERIMENT}/stop", timeout=10, trust_env=False).status_code == 401
    assert (
        httpx.post(f"{url}/{EXPERIMENT}/stop", headers=headers, json={}, timeout=10, trust_env=False).status_code == 200
    )
    _eventually(lambda: not follows())


def test_a_server_that_dies_in_mid_call_does_not_end_the_call(site: Site) -> None:
    record = read_record(site.settings.state_dir)
    assert record is not None

    def kill_once(event: object) -> None:
        # At the first partial transcript: the caller is in mid-sentence, the STT's state with the request.
        if getattr(event, "kind", "") == "partial" and not killed:
            killed.append(record.pid)
            os.kill(record.pid, signal.SIGKILL)

    killed: list[int] = []
    report = asyncio.run(place_call(site.caller[:2], CallOptions(site.app.address, wait_s=30.0), kill_once))

    assert killed
    assert all(one.voice_to_voice_ms is not None for one in report.said), "a turn was left silent"
    assert _events(report, "reply")
    _eventually(lambda: httpx.get(f"{site.app.http}/readyz", timeout=10, trust_env=False).status_code == 200, 60.0)
    assert _events(_call(site, site.caller[:1]), "understanding")[0]["intent"] == "orderDrink"


def test_people_that_no_model_has_heard_are_understood_over_the_wire(site: Site, recordings: Path) -> None:
    unheard = [r for r in read_recordings(recordings) if split_of(r.speaker, 7) == "test"]
    said = [load_speech(recording, TELEPHONE_RATE) for recording in unheard[:30]]
    calls = asyncio.run(place_calls(said, CallOptions(site.app.address), parallel=6))
    summary = summarise(calls)

    assert summary["calls"] == summary["answered"] == 30
    assert summary["command_acceptance"] >= 0.8, summary["rows"]


def test_serve_ends_in_order_when_it_is_told_to(tmp_path: Path) -> None:
    # The module's site runs beside it; what that told its Ray through the environment is not for this one.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    serve = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "serve", "--bot", "barista", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert serve.stdout is not None
    address = serve.stdout.readline().strip()
    record = read_record(tmp_path / "var")
    serve.send_signal(signal.SIGTERM)
    _, said = serve.communicate(timeout=90)

    assert address, said
    assert address.startswith("ws://127.0.0.1:") and record is not None
    assert serve.returncode == 0, said
    assert "Traceback" not in said and "SIGTERM" not in said
    assert not record.alive and read_record(tmp_path / "var") is None


def test_calling_where_nobody_listens_is_one_clear_line(tmp_path: Path, site: Site) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "call", str(site.caller[0].recording.path), "--url", "ws://127.0.0.1:9/twilio"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and "nobody answers" in done.stderr and "Traceback" not in done.stderr
