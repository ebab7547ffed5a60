"""The real tritonserver: versions side by side, publishing under load, refusals, crashes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from serving_models import damage, lookup_bundle, scaler_bundle

from parley.bundle import read_manifest, write_bundle
from parley.errors import ParleyError
from parley.serving.engine import EngineRejected, EngineTimeout, EngineUnavailable
from parley.serving.triton_engine import TritonEngine
from parley.serving.triton_record import process_started, read_record, stop_recorded
from parley.serving.triton_server import TritonServer
from registry.model_config import write_configs
from registry.publish import publish
from registry.releases import load_into

pytestmark = [pytest.mark.triton, pytest.mark.anyio]

X = np.array([[1, 2]], np.float32)
STATE = np.array([10], np.float32)
GOOD = {"x": X, "state": STATE}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    for factor in (2, 3):
        publish(scaler_bundle(tmp_path / f"bundle{factor}", factor), tmp_path / "repo")
    return tmp_path / "repo"


@pytest.fixture
def server(repo: Path, tmp_path: Path) -> Iterator[TritonServer]:
    with TritonServer(repo, tmp_path / "var") as running:
        yield running


def engine_of(server: TritonServer, **named: object) -> TritonEngine:
    return TritonEngine(server.grpc_address, control_key=server.control_key, **named)  # type: ignore[arg-type]


def stubs_of(pid: int) -> list[int]:
    """Process numbers of the server's Python stubs."""
    processes = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [each for each in processes if process_started(each) and f"PPid:\t{pid}\n" in _status(each)]


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it ended while we looked
        return ""


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
    publish(lookup_bundle(tmp_path / "bundle"), tmp_path / "repo")
    ids = [1, 2, 99, 3, 0, 1, 98, 2]
    with TritonServer(tmp_path / "repo", tmp_path / "var") as server:
        async with engine_of(server) as engine:
            answers = await asyncio.gather(
                *(engine.infer("barista_tts", 1, {"id": np.array([[i]])}) for i in ids), return_exceptions=True
            )

    for i, answer in zip(ids, answers, strict=True):
        if i > 3:
            assert isinstance(answer, EngineRejected) and "refused" in answer.what
        else:
            assert isinstance(answer, dict) and answer["value"].item() == 10 * i


async def test_version_published_under_load_costs_the_others_no_request(
    server: TritonServer, repo: Path, tmp_path: Path
) -> None:
    counts, stop = {1: 0, 2: 0}, asyncio.Event()

    async def flow(engine: TritonEngine, version: int) -> None:
        while not stop.is_set():
            answer = await engine.infer("barista_nlu", version, GOOD)
            np.testing.assert_array_equal(answer["y"], X * (version + 1))
            counts[version] += 1

    async with engine_of(server) as engine, asyncio.TaskGroup() as flows:
        for version in (1, 1, 2, 2):
            flows.create_task(flow(engine, version))
        publish(scaler_bundle(tmp_path / "bundle4", 4), repo)
        before = dict(counts)

        answering = await load_into(engine, repo, "barista_nlu")
        third = await engine.infer("barista_nlu", 3, GOOD)
        while min(counts[version] - before[version] for version in counts) < 50:
            await asyncio.sleep(0.01)
        stop.set()

    assert answering == [1, 2, 3]
    np.testing.assert_array_equal(third["y"], X * 4)


async def test_version_triton_cannot_open_is_refused_while_the_others_answer(
    server: TritonServer, repo: Path, tmp_path: Path
) -> None:
    bundle = scaler_bundle(tmp_path / "garbage", 9)
    (bundle / "model.onnx").write_bytes(b"this is no graph")
    write_bundle(bundle, read_manifest(bundle))
    publish(bundle, repo)
    async with engine_of(server) as engine:
        with pytest.raises(EngineRejected, match="Protobuf parsing failed"):
            await load_into(engine, repo, "barista_nlu")

        for version in (1, 2):
            np.testing.assert_array_equal((await engine.infer("barista_nlu", version, GOOD))["y"], X * (version + 1))


async def test_damaged_version_is_refused_by_file_while_the_others_load(repo: Path, tmp_path: Path) -> None:
    publish(scaler_bundle(tmp_path / "other", 5, model="barista_nlg"), repo)
    file = repo / "barista_nlu" / "2" / "model.onnx"
    damage(file)

    with TritonServer(repo, tmp_path / "var") as server:  # the stub itself notices: nobody checked before
        async with engine_of(server) as engine:
            assert list(server.refused) == ["barista_nlu"]
            assert "model.onnx" in server.refused["barista_nlu"] and "version 2" in server.refused["barista_nlu"]
            np.testing.assert_array_equal((await engine.infer("barista_nlg", 1, GOOD))["y"], X * 5)

            with pytest.raises(EngineRejected, match="altered") as caught:  # the registry notices and serves the rest
                await load_into(engine, repo, "barista_nlu")

            assert caught.value.where == str(file)
            np.testing.assert_array_equal((await engine.infer("barista_nlu", 1, GOOD))["y"], X * 2)
            assert not await engine.ready("barista_nlu", 2)


async def test_killed_server_is_unavailable_until_it_is_restarted(server: TritonServer) -> None:
    async with engine_of(server) as engine:
        await engine.infer("barista_nlu", 1, GOOD)
        assert server.pid is not None
        stubs = stubs_of(server.pid)
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
    assert stubs and all(process_started(stub) is None for stub in stubs)


async def test_supervised_server_comes_back_by_itself(server: TritonServer) -> None:
    server.supervise(interval_s=0.02)
    async with engine_of(server) as engine:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)

        async with asyncio.timeout(60):
            while not await engine.ready("barista_nlu", 2):
                await asyncio.sleep(0.02)
            answer = await engine.infer("barista_nlu", 2, GOOD)

    np.testing.assert_array_equal(answer["y"], X * 3)


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


async def test_model_control_is_closed_without_the_key(server: TritonServer) -> None:
    async with TritonEngine(server.grpc_address, control_key="guess") as engine:
        with pytest.raises(EngineRejected, match="restricted") as caught:
            await engine.unload("barista_nlu")
        assert "PARLEY_TRITON_CONTROL_KEY" in caught.value.mend
        assert await engine.ready("barista_nlu", 1)
    async with httpx.AsyncClient() as http:
        url = f"http://{server.http_address}/v2/repository/models/barista_nlu/unload"
        assert (await http.post(url)).status_code == 403
        metrics = await http.get(f"http://{server.metrics_address}/metrics")
    assert 'nv_inference_request_success{model="barista_nlu",version="1"}' in metrics.text


def test_second_server_of_a_site_is_refused(server: TritonServer, repo: Path, tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match=f"process {server.pid}"):
        TritonServer(repo, tmp_path / "var").start()


def test_stop_leaves_no_process_and_no_note(repo: Path, tmp_path: Path) -> None:
    server = TritonServer(repo, tmp_path / "var")
    server.start()
    pid = server.pid
    record = read_record(tmp_path / "var")
    assert pid is not None and record is not None and record.pid == pid
    stubs = stubs_of(pid)
    assert len(stubs) == 2

    server.stop()
    server.stop()

    assert [process_started(each) for each in [pid, *stubs]] == [None, None, None]
    assert read_record(tmp_path / "var") is None
    assert list(Path("/dev/shm").glob(f"{record.shm_prefix}*")) == []


def test_detached_server_outlives_its_starter_and_is_stopped_by_another(repo: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from parley.serving.triton_server import TritonServer\n"
        "TritonServer(Path(sys.argv[1]), Path(sys.argv[2])).start(detached=True)"
    )
    subprocess.run([sys.executable, "-c", code, str(repo), str(tmp_path / "var")], check=True)
    record = read_record(tmp_path / "var")
    assert record is not None and not record.orphaned
    assert (tmp_path / "var" / "triton.json").stat().st_mode & 0o077 == 0

    assert stop_recorded(tmp_path / "var")

    assert not record.alive
    assert not stop_recorded(tmp_path / "var")


def test_owned_server_of_a_killed_process_is_taken_over(repo: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from parley.serving.triton_server import TritonServer\n"
        "TritonServer(Path(sys.argv[1]), Path(sys.argv[2])).start(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(repo), str(tmp_path / "var")], check=False)
    record = read_record(tmp_path / "var")
    assert record is not None and record.orphaned

    with TritonServer(repo, tmp_path / "var") as server:
        assert server.pid not in (None, record.pid)
        assert not record.alive


def test_neither_side_imports_torch(server: TritonServer) -> None:
    modules = (
        "parley.serving.triton_server, parley.serving.onnx_engine, parley.serving.choice, "
        "registry.publish, registry.releases, parley.doctor, onnxruntime"
    )
    code = f"import sys, {modules}; print(sorted(name for name in sys.modules if name.split('.')[0] == 'torch'))"
    client = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert server.pid is not None
    stubs = stubs_of(server.pid)

    loaded = [Path(f"/proc/{stub}/maps").read_text() for stub in stubs]

    assert client.stdout.strip() == "[]"
    assert len(loaded) == 2
    for text in loaded:
        assert "onnxruntime" in text and "/torch/" not in text


def test_empty_repository_starts_a_server_without_models(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    assert write_configs(tmp_path / "repo") == []

    with TritonServer(tmp_path / "repo", tmp_path / "var") as server:
        assert server.refused == {} and server.pid is not None
