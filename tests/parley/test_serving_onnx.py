"""The in-process engine: the same answers and refusals as a server's, on the same repository."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving_models import damage, lookup_bundle, scaler_bundle, slow_bundle
from serving_site import open_site

from parley.serving.engine import EngineRejected, EngineTimeout
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from registry.site import Registry
from registry.versions.publish import publish

pytestmark = pytest.mark.anyio

X = np.array([[1, 2], [3, 4]], np.float32)
STATE = np.array([10, 20], np.float32)
GOOD = {"x": X, "state": STATE}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_site(tmp_path, versions=2) as opened:
        yield opened


def engine_on(registry: Registry, *, threads: int = 2) -> OnnxEngine:
    return OnnxEngine(registry.repo, Trust.of(registry.site), threads=threads)


async def test_version_asked_for_answers(registry: Registry) -> None:
    async with engine_on(registry) as engine:
        first = await engine.infer("barista_nlu", 1, GOOD)
        second = await engine.infer("barista_nlu", 2, GOOD)

    np.testing.assert_array_equal(first["y"], X * 2)
    np.testing.assert_array_equal(second["y"], X * 3)
    np.testing.assert_array_equal(first["state_out"], [13, 27])


async def test_bundle_runs_before_it_is_published(tmp_path: Path) -> None:
    async with OnnxEngine.from_bundle(scaler_bundle(tmp_path / "bundle", 5)) as engine:
        answer = await engine.infer("any", 9, GOOD)

    np.testing.assert_array_equal(answer["y"], X * 5)


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        ({"x": X}, "'state' is missing"),
        (GOOD | {"z": X}, "unknown input 'z'"),
        ({"x": X.astype(np.float64), "state": STATE}, "'x' is float64"),
        ({"x": X[0], "state": STATE}, "'x' has shape"),
        ({"x": X, "state": STATE[:1]}, "batch sizes"),
        ({"x": np.zeros((17, 2), np.float32), "state": np.zeros(17, np.float32)}, "batch sizes"),
    ],
    ids=["missing", "unknown", "dtype", "rank", "unequal batch", "oversized batch"],
)
async def test_wrong_tensors_are_rejected_by_name(registry: Registry, inputs: dict, names: str) -> None:
    async with engine_on(registry) as engine:
        with pytest.raises(EngineRejected, match=names):
            await engine.infer("barista_nlu", 1, inputs)


async def test_value_the_graph_cannot_take_is_rejected(tmp_path: Path) -> None:
    async with OnnxEngine.from_bundle(lookup_bundle(tmp_path / "bundle")) as engine:
        with pytest.raises(EngineRejected):
            await engine.infer("", 0, {"id": np.array([[99]])})


async def test_unknown_version_is_rejected(registry: Registry) -> None:
    async with engine_on(registry) as engine:
        assert not await engine.ready("barista_nlu", 3)
        with pytest.raises(EngineRejected, match="no such version"):
            await engine.infer("barista_nlu", 3, GOOD)


async def test_damaged_version_is_refused_by_file_until_it_is_mended(registry: Registry) -> None:
    file = registry.repo / "barista_nlu" / "2" / "model.onnx"
    content = damage(file)
    async with engine_on(registry) as engine:
        with pytest.raises(EngineRejected, match="altered") as caught:
            await engine.infer("barista_nlu", 2, GOOD)
        assert caught.value.where == str(file) and caught.value.mend
        assert await engine.ready("barista_nlu", 1)

        file.write_bytes(content)

        assert await engine.ready("barista_nlu", 2)


async def test_missing_file_is_refused_by_name(registry: Registry) -> None:
    (registry.repo / "barista_nlu" / "2" / "model.onnx").unlink()
    async with engine_on(registry) as engine:
        with pytest.raises(EngineRejected, match=r"model\.onnx: file is missing"):
            await engine.infer("barista_nlu", 2, GOOD)


async def test_slow_model_times_out_and_never_blocks_the_loop(tmp_path: Path) -> None:
    with open_site(tmp_path) as registry:
        publish(slow_bundle(tmp_path / "slow"), registry)
        publish(scaler_bundle(tmp_path / "fast", 2), registry)
    async with engine_on(registry, threads=2) as engine:
        assert await engine.ready("barista_nlg", 1) and await engine.ready("barista_nlu", 1)
        slow = asyncio.create_task(engine.infer("barista_nlg", 1, {"x": np.zeros((1, 1), np.float32)}, timeout_s=60))
        await asyncio.sleep(0)

        fast = await engine.infer("barista_nlu", 1, GOOD)

        assert not slow.done()
        np.testing.assert_array_equal(fast["y"], X * 2)
        assert (await slow)["y"].item() == 400_000
        with pytest.raises(EngineTimeout, match="barista_nlg version 1"):
            await engine.infer("barista_nlg", 1, {"x": np.zeros((1, 1), np.float32)}, timeout_s=0.005)
