"""Versions come and go on the real tritonserver: nothing else is disturbed, and nothing that is not ours gets in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from serving_models import damage, scaler_bundle
from serving_site import GOOD, MODEL, X, add_version, control_of, engine_of, flowing, keep, open_site, serving

from parley.bundle import read_manifest, write_bundle
from parley.serving.engine import EngineRejected
from parley.serving.triton_control import GrpcControl, HttpControl, refusal
from parley.serving.triton_server import TritonServer
from parley.serving.triton_supervisor import Supervision
from registry import served
from registry.releasing.leases import CallLeases
from registry.served import Keeper, Patience, ServedView
from registry.site import Registry
from registry.versions import publish as publishing
from registry.versions.publish import publish
from registry.writing import open_for_writing

pytestmark = [pytest.mark.triton, pytest.mark.anyio]
WAIT_S = 60
AT_ONCE = Patience(linger_s=0.0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_site(tmp_path, versions=2) as opened:
        yield opened


@pytest.fixture
def server(registry: Registry) -> Iterator[TritonServer]:
    with serving(registry) as running:
        yield running


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.02)


async def test_versions_come_and_go_beside_others_that_notice_nothing(
    server: TritonServer, registry: Registry, tmp_path: Path
) -> None:
    pid, view = server.pid, ServedView(registry, patience=AT_ONCE)
    async with engine_of(server) as engine, flowing(engine, 1, 2):
        for number in (3, 4):
            await asyncio.to_thread(add_version, registry, tmp_path / f"new{number}", number)
            await asyncio.to_thread(view.ensure, [(MODEL, number)])
            np.testing.assert_array_equal((await engine.infer(MODEL, number, GOOD))["y"], X * (number + 1))

        changes = await asyncio.to_thread(view.reconcile)  # 1 and 2 are held, 4 is the newest

        assert changes.removed == [(MODEL, 3)] and changes.problems == {}
        assert control_of(server).serving() == {MODEL: {1, 2, 4}}
    assert server.pid == pid


async def test_a_model_whose_last_version_goes_is_unloaded(
    server: TritonServer, registry: Registry, tmp_path: Path
) -> None:
    publish(scaler_bundle(tmp_path / "bank", 2, model="bank_nlu", bot="bank"), registry)
    view = ServedView(registry, patience=AT_ONCE)
    view.ensure([("bank_nlu", 1)])
    view.folder.write_scope(["barista"])

    changes = view.reconcile()

    assert changes.removed == [("bank_nlu", 1)]
    assert control_of(server).serving() == {MODEL: {1, 2}}


async def test_a_version_goes_only_after_its_last_call(
    server: TritonServer, registry: Registry, tmp_path: Path
) -> None:
    calls, ref = CallLeases(registry.catalogue, "replica"), (MODEL, 1)
    control = control_of(server)
    calls.take([ref])
    calls.take([ref])
    view = ServedView(registry, patience=AT_ONCE)
    await until(lambda: bool(registry_leases(registry)))
    keep(registry, 2)

    with_two_calls = view.reconcile()
    calls.drop([ref])
    with_one_call = view.reconcile()
    answered = control.ready(*ref)
    calls.drop([ref])
    await until(lambda: not registry_leases(registry))
    after = view.reconcile()
    calls.close()

    assert with_two_calls.removed == with_one_call.removed == [] and answered
    assert after.removed == [ref]
    assert not control.ready(*ref) and control.ready(MODEL, 2)


def registry_leases(registry: Registry) -> list[object]:
    with registry.catalogue.read() as c:
        return list(served.leases.live(c))


async def test_the_keeper_brings_and_takes_versions_by_itself(
    server: TritonServer, registry: Registry, tmp_path: Path
) -> None:
    control = control_of(server)
    with Keeper(ServedView(registry, patience=AT_ONCE), interval_s=0.02):
        add_version(registry, tmp_path / "new", 3)
        await until(lambda: control.serving() == {MODEL: {1, 2, 3}})

        keep(registry, 1)
        await until(lambda: control.serving() == {MODEL: {1, 3}})

        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: server.pid is None)
        server.ensure_alive()
        await until(lambda: control.serving() == {MODEL: {1, 3}})


async def test_a_server_that_dies_in_the_middle_of_loading_comes_back_with_the_version(
    server: TritonServer, registry: Registry, tmp_path: Path
) -> None:
    class Interrupted(HttpControl):
        killed = False

        def load(self, model: str, *, timeout_s: float = WAIT_S) -> None:
            if not self.killed:
                self.killed = True
                assert server.pid is not None
                os.kill(server.pid, signal.SIGKILL)
            super().load(model, timeout_s=timeout_s)

    add_version(registry, tmp_path / "new", 3)
    control = Interrupted(server.http_address)
    server.supervise(Supervision(interval_s=0.02))

    await asyncio.to_thread(ServedView(registry).ensure, [(MODEL, 3)], control)

    assert control.killed
    async with engine_of(server) as engine:
        for number in (1, 2, 3):
            np.testing.assert_array_equal((await engine.infer(MODEL, number, GOOD))["y"], X * (number + 1))


async def test_a_version_damaged_before_a_restart_does_not_stop_the_others(
    server: TritonServer, registry: Registry
) -> None:
    damage(registry.repo / MODEL / "2" / "model.onnx")

    server.restart()

    assert "model.onnx" in server.refused[f"{MODEL} version 2"]
    assert control_of(server).serving() == {MODEL: {1}}


async def test_a_version_whose_folder_is_gone_does_not_stop_the_others(
    server: TritonServer, registry: Registry
) -> None:
    shutil.rmtree(registry.repo / MODEL / "2")

    server.restart()

    assert server.refused == {f"{MODEL} version 2": "its folder is gone"}
    assert control_of(server).serving() == {MODEL: {1}}


async def test_versions_answer_at_the_servers_own_priority(server: TritonServer) -> None:
    assert server.pid is not None
    server.supervise(Supervision(interval_s=0.02))
    own = os.getpriority(os.PRIO_PROCESS, server.pid)

    # Priority is a thread's own on Linux. Those that open versions stand back, and are gone by now; those that run
    # them are set to 0 by Triton as they begin, a moment after it says that it is ready.
    async with asyncio.timeout(30):
        while max(niceness_of_threads(server.pid)) > own:
            await asyncio.sleep(0.02)


def niceness_of_threads(pid: int) -> list[int]:
    return [os.getpriority(os.PRIO_PROCESS, int(path.name)) for path in Path(f"/proc/{pid}/task").iterdir()]


async def test_a_version_damaged_while_it_serves_goes_on_serving(
    server: TritonServer, registry: Registry, tmp_path: Path
) -> None:
    file = registry.repo / MODEL / "2" / "model.onnx"
    add_version(registry, tmp_path / "new", 3)
    async with engine_of(server) as engine, flowing(engine, 1, 2):
        content = damage(file)
        with pytest.raises(EngineRejected, match="model.onnx"):
            await asyncio.to_thread(ServedView(registry).ensure, [(MODEL, 3)])

        file.write_bytes(content)
        await asyncio.to_thread(ServedView(registry).ensure, [(MODEL, 3)])


async def test_a_graph_triton_cannot_open_is_refused_while_the_others_answer(
    server: TritonServer, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = scaler_bundle(tmp_path / "garbage", 9)
    (bundle / "model.onnx").write_bytes(b"this is no graph")
    write_bundle(bundle, read_manifest(bundle))
    # So that the server itself meets the problem:
    monkeypatch.setattr(publishing, "inspecting", lambda _: contextlib.nullcontext())
    publish(bundle, registry)
    view = ServedView(registry)

    with pytest.raises(EngineRejected, match="protobuf parsing failed") as caught:
        view.ensure([(MODEL, 3)])

    assert caught.value.where == f"{MODEL} version 3"
    assert view.folder.linked() == {MODEL: {1, 2}}
    assert control_of(server).serving() == {MODEL: {1, 2}}
    assert list(view.reconcile().problems) == [(MODEL, 3)]
    assert control_of(server).serving() == {MODEL: {1, 2}}


async def test_a_server_that_somebody_else_runs_is_told_over_grpc(
    server: TritonServer, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(registry, tmp_path / "new", 3)
    monkeypatch.setenv("PARLEY_TRITON_CONTROL_KEY", "theirs")
    with open_for_writing(registry.site.model_copy(update={"triton_grpc": server.grpc_address})) as other:
        view = ServedView(other, patience=AT_ONCE)
        view.ensure([(MODEL, 3)])
        keep(registry, 2)
        changes = view.reconcile()

    control = GrpcControl(server.grpc_address)
    assert changes.removed == [(MODEL, 1)]
    assert control.live(timeout_s=5) and control.ready(MODEL, 3) and not control.ready(MODEL, 1)
    assert control.serving() == {MODEL: {2, 3}}
    refused = refusal("This protocol is restricted, expecting header 'triton-grpc-protocol-parley-control'", "load x")
    assert "PARLEY_TRITON_CONTROL_KEY" in refused.mend
