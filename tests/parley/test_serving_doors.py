"""What another user of the machine reaches of a site's Triton server: nothing that answers calls or says what loads."""

from __future__ import annotations

import mmap
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from serving_site import GOOD, MODEL, engine_of, open_site, serving

from parley import doctor
from parley.serving import triton_record
from parley.serving.engine import EngineUnavailable
from parley.serving.triton_control import HttpControl
from parley.serving.triton_engine import TritonEngine
from parley.serving.triton_record import ServerRecord, read_record, sweep_dead, write_record
from parley.settings import Settings

NOBODY = 65534


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def tried(paths: list[str], *, user: int) -> list[str]:
    """What `user` meets who connects to these sockets, from a process of his own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        met = []
        try:
            if os.getuid() != user:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            for path in paths:
                try:
                    socket.socket(socket.AF_UNIX).connect(path)
                    met.append("reached")
                except OSError as error:
                    met.append(type(error).__name__)
            os.write(writing, " ".join(met).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read().split()


@pytest.mark.triton
@pytest.mark.anyio
async def test_another_user_finds_no_key_no_port_and_no_way_to_the_sockets(open_folder: Path) -> None:
    with open_site(open_folder, versions=1) as registry, serving(registry) as server:
        (open_folder / "var").chmod(0o755)
        assert server.pid is not None
        line = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode()
        sockets = [address.removeprefix("unix:") for address in (server.grpc_address, server.http_address)]
        ports = listening(server.pid)
        mine = tried(sockets, user=os.getuid())
        others = tried([f"{open_folder}/none", *sockets], user=NOBODY) if os.getuid() == 0 else []
        async with engine_of(server) as engine:
            answer = await engine.infer(MODEL, 1, GOOD)
            metrics = httpx.get(f"http://{server.metrics_address}/metrics", trust_env=False).text
            await engine.unload(MODEL)
            assert not HttpControl(server.http_address).ready(MODEL, 1)

    assert answer["y"].shape == (1, 2)
    assert f'nv_inference_request_success{{model="{MODEL}",version="1"}}' in metrics
    assert "restricted" not in line and "=parley" not in line
    assert ports == {int(server.metrics_address.rpartition(":")[2])}
    assert mine == ["reached", "reached"]
    if os.getuid() == 0:  # the first shows that the folder itself is open to him
        assert others == ["FileNotFoundError", "PermissionError", "PermissionError"]
    assert not any(Path(path).exists() for path in sockets)


def listening(pid: int) -> set[int]:
    """TCP ports on which a process accepts connections."""
    own = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    ports = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


@pytest.mark.triton
def test_a_state_folder_with_a_long_path_has_its_sockets_elsewhere_as_closed(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    with open_site(folder) as registry, serving(registry) as server:
        sockets = Path(server.http_address.removeprefix("unix:")).parent
        mode = sockets.stat().st_mode & 0o777
        live = HttpControl(server.http_address).live(timeout_s=5)

    assert live and mode == 0o700 and not sockets.is_relative_to(folder) and not sockets.exists()


def record_of(pid: int, started: int, sockets: Path) -> ServerRecord:
    return ServerRecord(
        pid=pid, started=started, owner_pid=0, owner_started=0, grpc=f"unix:{sockets}/grpc:1", http="", metrics=""
    )


def test_what_a_dead_server_left_is_swept(tmp_path: Path) -> None:
    memory, sockets = tmp_path / "shm", tmp_path / "parley-triton-x"
    memory.mkdir()
    sockets.mkdir()
    (memory / "parley-dead").write_bytes(b"voice" * 1000)
    (memory / "parley-live").write_bytes(b"voice" * 1000)
    (memory / "else").touch()
    (memory / "parley-folder").mkdir()
    ended = subprocess.Popen(["true"], start_new_session=True)
    ended.wait()
    write_record(tmp_path, record_of(ended.pid, 1, sockets))

    with (memory / "parley-live").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        sweep_dead(tmp_path, memory)  # with its note; a second time without
        sweep_dead(tmp_path, memory)

        assert {path.name for path in memory.iterdir()} == {"parley-live", "parley-folder", "else"}
    assert not (tmp_path / triton_record.RECORD).exists() and not sockets.exists()


def test_stopping_a_server_by_its_note_removes_its_temporary_sockets(tmp_path: Path) -> None:
    sockets = tmp_path / "parley-triton-x"
    sockets.mkdir()
    running = subprocess.Popen(["sleep", "60"], start_new_session=True)
    started = triton_record.process_started(running.pid)
    assert started is not None
    write_record(tmp_path, record_of(running.pid, started, sockets))

    stopped = triton_record.stop_recorded(tmp_path)

    assert stopped and running.wait() != 0 and not sockets.exists()


def test_what_a_living_server_uses_is_not_swept(tmp_path: Path) -> None:
    started = triton_record.process_started(os.getpid())
    assert started is not None
    write_record(tmp_path, record_of(os.getpid(), started, tmp_path))

    sweep_dead(tmp_path)

    assert read_record(tmp_path) is not None


@pytest.mark.anyio
async def test_an_answer_that_lacks_an_output_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = lambda name: SimpleNamespace(name=name, HasField=lambda _: False)  # noqa: E731
    config = SimpleNamespace(input=[tensor("x")], output=[tensor("y"), tensor("state_out")])
    outputs: dict[str, np.ndarray[Any, Any]] = {"y": np.ones((1, 2), np.float32)}

    class Client:
        async def get_model_config(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(config=config)

        async def infer(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(as_numpy=outputs.get)

    engine = TritonEngine("nowhere:1")
    monkeypatch.setattr(engine, "_client", Client)

    with pytest.raises(EngineUnavailable, match="lacks 'state_out'"):
        await engine.infer(MODEL, 1, {"x": GOOD["x"]})

    outputs["state_out"] = np.ones((1, 1), np.float32)
    assert set(await engine.infer(MODEL, 1, {"x": GOOD["x"]})) == {"y", "state_out"}


def test_doctor_warns_of_what_other_users_could_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [tmp_path / "parley-dead"]
    monkeypatch.setattr(triton_record, "abandoned_memory", lambda: left)
    site = Settings(state_dir=tmp_path / "var", triton_grpc="gpu-node:8001")

    found = {f.name: f for f in doctor.examine(site)}

    assert found["shared memory"].status == "warning" and "parley triton" in found["shared memory"].mend
    assert found["PARLEY_TRITON_GRPC"].status == "warning" and "key" in found["PARLEY_TRITON_GRPC"].detail
    left.clear()
    monkeypatch.setenv("PARLEY_TRITON_CONTROL_KEY", "k")
    closed = {f.name for f in doctor.examine(site) if f.status == "warning"}
    assert not closed & {"shared memory", "PARLEY_TRITON_GRPC"}
