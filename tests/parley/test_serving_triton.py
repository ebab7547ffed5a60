"""The real tritonserver behind the engine: versions side by side, refusals, crashes, the life of the process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from serving_models import lookup_bundle
from serving_site import GOOD, STATE, X, children_of, engine_of, open_site, serving

from parley.errors import ParleyError
from parley.serving import triton_server
from parley.serving.engine import EngineRejected, EngineTimeout, EngineUnavailable
from parley.serving.triton_record import process_started, read_record, stop_recorded
from parley.serving.triton_server import TritonServer
from parley.serving.triton_supervisor import Supervision
from registry.served import ServedView
from registry.site import Registry
from registry.versions.publish import publish

pytestmark = [pytest.mark.triton, pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_site(tmp_path, versions=2) as opened:
        ServedView(opened).prepare()
        yield opened


@pytest.fixture
def server(registry: Registry) -> Iterator[TritonServer]:
    with serving(registry) as running:
        yield running


async def test_version_asked_for_answers_and_state_travels(server: TritonServer) -> None:
    async with engine_of(server, channels=2) as engine:
        first = await engine.infer("barista_nlu", 1, GOOD)
        second = await engine.infer("barista_nlu", 2, {"x": X, "state": first["state_out"]})

    np.testing.assert_array_equal(first["y"], X * 2)
    np.testing.assert_array_equal(second["y"], X * 3)
    np.testing.assert_array_equal(second["state_out"], [16])


async def test_wrong_requests_are_rejected_with_the_reason(server: TritonServer) -> None:
    async with engine_of(server) as engine:
        with pytest.raises(EngineRejected, match="missing required input"):
            await engine.infer("barista_nlu", 1, {"x": X})
        with pytest.raises(EngineRejected, match="FP64"):
            await engine.infer("barista_nlu", 1, {"x": X.astype(np.float64), "state": STATE})
        with pytest.raises(EngineRejected, match="not found"):
            await engine.infer("barista_nlu", 3, GOOD)
        with pytest.raises(EngineRejected, match="not found"):
            await engine.infer("nobody", 1, GOOD)
        assert await engine.ready("barista_nlu", 2) and not await engine.ready("barista_nlu", 3)


async def test_requests_of_many_shapes_at_once_each_get_their_own_answer(server: TritonServer) -> None:
    rng = np.random.default_rng(3)
    inputs = [rng.normal(size=(1 + i % 3, 1 + i % 5)).astype(np.float32) for i in range(60)]
    async with engine_of(server) as engine:
        answers = await asyncio.gather(
            *(engine.infer("barista_nlu", 1, {"x": x, "state": np.zeros(len(x), np.float32)}) for x in inputs)
        )

    for x, answer in zip(inputs, answers, strict=True):
        np.testing.assert_array_equal(answer["y"], x * 2)
        np.testing.assert_allclose(answer["state_out"], x.sum(axis=1), rtol=1e-5)


async def test_bad_request_in_a_batch_fails_alone(tmp_path: Path) -> None:
    ids = [1, 2, 99, 3, 0, 1, 98, 2]
    with open_site(tmp_path) as registry:
        publish(lookup_bundle(tmp_path / "bundle"), registry)
        with serving(registry) as server:
            async with engine_of(server) as engine:
                answers = await asyncio.gather(
                    *(engine.infer("barista_tts", 1, {"id": np.array([[i]])}) for i in ids), return_exceptions=True
                )

    for i, answer in zip(ids, answers, strict=True):
        if i > 3:
            assert isinstance(answer, EngineRejected) and "refused" in answer.what
        else:
            assert isinstance(answer, dict) and answer["value"].item() == 10 * i


async def test_killed_server_is_unavailable_until_it_is_restarted(server: TritonServer) -> None:
    async with engine_of(server) as engine:
        await engine.infer("barista_nlu", 1, GOOD)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        while server.pid is not None:
            await asyncio.sleep(0.01)

        with pytest.raises(EngineUnavailable, match=server.grpc_address) as caught:
            await engine.infer("barista_nlu", 1, GOOD)
        assert caught.value.mend
        assert not await engine.ready("barista_nlu", 1)

        assert server.ensure_alive()
        assert not server.ensure_alive()
        answer = await engine.infer("barista_nlu", 1, GOOD)

    np.testing.assert_array_equal(answer["y"], X * 2)


async def test_supervised_server_comes_back_by_itself(server: TritonServer) -> None:
    server.supervise(Supervision(interval_s=0.02))
    async with engine_of(server) as engine:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)

        async with asyncio.timeout(60):
            while not await engine.ready("barista_nlu", 2):
                await asyncio.sleep(0.02)
            answer = await engine.infer("barista_nlu", 2, GOOD)

    np.testing.assert_array_equal(answer["y"], X * 3)


async def test_supervised_server_that_hangs_is_ended_and_comes_back(server: TritonServer) -> None:
    hung = server.pid
    assert hung is not None
    os.kill(hung, signal.SIGSTOP)

    server.supervise(Supervision(interval_s=0.02, look_timeout_s=0.2))
    async with engine_of(server) as engine, asyncio.timeout(60):
        while server.pid in (None, hung) or not await engine.ready("barista_nlu", 2):
            await asyncio.sleep(0.02)
        answer = await engine.infer("barista_nlu", 2, GOOD)

    np.testing.assert_array_equal(answer["y"], X * 3)
    assert process_started(hung) is None


async def test_server_that_hangs_times_out_and_answers_again_after(server: TritonServer) -> None:
    async with engine_of(server) as engine:
        await engine.infer("barista_nlu", 1, GOOD)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(EngineTimeout, match="barista_nlu version 1"):
                await engine.infer("barista_nlu", 1, GOOD, timeout_s=0.1)
        finally:
            os.kill(server.pid, signal.SIGCONT)

        answer = await engine.infer("barista_nlu", 1, GOOD, timeout_s=10)

    np.testing.assert_array_equal(answer["y"], X * 2)


def crash_while_loading(folder: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Have the server abort while its first versions are checked, as a graph could make it that crashes its runtime."""
    install, bombs = triton_server.find_triton(), folder / "bombs"
    bombs.mkdir()
    for number in range(times):
        (bombs / str(number)).touch()
    script = folder / "python"
    script.write_text(
        "#!/bin/bash\n"
        f'rm "{bombs}/$(ls {bombs} | head -1)" 2>/dev/null && kill -ABRT $PPID\n'
        f'exec {install.python} "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(triton_server, "find_triton", lambda: replace(install, python=script))


async def test_a_server_that_aborts_while_it_loads_is_started_again(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crash_while_loading(tmp_path, monkeypatch, times=1)

    with serving(registry) as server:
        async with engine_of(server) as engine:
            answer = await engine.infer("barista_nlu", 2, GOOD)

    np.testing.assert_array_equal(answer["y"], X * 3)
    assert server.refused == {} and "aborted while its models were loading" in caplog.text


def test_a_server_that_always_aborts_while_it_loads_says_so_and_leaves_nothing(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_while_loading(tmp_path, monkeypatch, times=50)

    with pytest.raises(ParleyError, match=r"aborted while its models were loading: signal 6"), serving(registry):
        pass

    assert read_record(registry.site.state_dir) is None


def test_second_server_of_a_site_is_refused(server: TritonServer, registry: Registry) -> None:
    with pytest.raises(ParleyError, match=f"process {server.pid}"):
        TritonServer.from_settings(registry.site).start()


def test_stop_leaves_no_process_and_no_note(registry: Registry) -> None:
    state = registry.site.state_dir
    server = TritonServer.from_settings(registry.site)
    server.start()
    pid, record = server.pid, read_record(state)
    assert pid is not None and record is not None and record.pid == pid
    assert children_of(pid) == set()  # the checks of the versions are over

    server.stop()
    server.stop()

    assert process_started(pid) is None
    assert read_record(state) is None


START = (
    "import os, sys; from pathlib import Path; from parley.serving.triton_server import TritonServer\n"
    "from parley.settings import Settings\n"
    "server = TritonServer.from_settings(Settings(state_dir=Path(sys.argv[1])))\n"
)


def test_detached_server_outlives_its_starter_and_is_stopped_by_another(registry: Registry) -> None:
    state = registry.site.state_dir
    subprocess.run([sys.executable, "-c", START + "server.start(detached=True)", str(state)], check=True)
    record = read_record(state)
    assert record is not None and not record.orphaned
    assert (state / "triton.json").stat().st_mode & 0o077 == 0

    assert stop_recorded(state)

    assert not record.alive
    assert not stop_recorded(state)


def test_owned_server_of_a_killed_process_is_taken_over(registry: Registry) -> None:
    state = registry.site.state_dir
    subprocess.run([sys.executable, "-c", START + "server.start(); os.kill(os.getpid(), 9)", str(state)], check=False)
    record = read_record(state)
    assert record is not None and record.orphaned

    with TritonServer.from_settings(registry.site) as server:
        assert server.pid not in (None, record.pid)
        assert not record.alive


def test_neither_side_imports_torch(server: TritonServer) -> None:
    modules = (
        "parley.serving.triton_server, parley.serving.onnx_engine, parley.serving.choice, "
        "registry.versions.publish, registry.releasing.releases, registry.served, parley.doctor, onnxruntime"
    )
    code = f"import sys, {modules}; print(sorted(name for name in sys.modules if name.split('.')[0] == 'torch'))"
    client = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert server.pid is not None

    loaded = Path(f"/proc/{server.pid}/maps").read_text()

    assert client.stdout.strip() == "[]"
    assert "onnxruntime" in loaded and "/torch/" not in loaded and "libpython" not in loaded


def test_site_without_versions_starts_a_server_without_models(tmp_path: Path) -> None:
    with open_site(tmp_path) as registry, serving(registry) as server:
        assert server.refused == {} and server.pid is not None
