"""Versions of one model whose tensors differ, by implementation or by size, side by side on the real tritonserver."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from serving_models import scaler_bundle
from serving_site import GOOD, MODEL, X, control_of, flowing, keep, open_site, serving
from toy_nlu import keyword_bundle

from parley.bundle import read_manifest, write_bundle
from parley.errors import ParleyError
from parley.serving.choice import open_engine
from parley.serving.engine import Engine, EngineRejected
from parley.serving.handover import handover
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from registry.loading import SiteLoader
from registry.served import Patience, ServedView
from registry.versions.publish import publish

pytestmark = pytest.mark.anyio
AT_ONCE = Patience(linger_s=0.0)
COUNTS = {"counts": np.array([[3]], np.float32)}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def both_answer(engine: Engine) -> None:
    """The scaler, version 1, and the keywords, version 2, each with tensors of its own."""
    np.testing.assert_array_equal((await engine.infer(MODEL, 1, GOOD))["y"], X * 2)
    np.testing.assert_array_equal((await engine.infer(MODEL, 2, COUNTS))["scores"], COUNTS["counts"])


@pytest.mark.triton
async def test_both_are_served_under_one_model_and_go_one_by_one(tmp_path: Path) -> None:
    with open_site(tmp_path, versions=1) as registry, serving(registry) as server:
        assert publish(keyword_bundle(tmp_path / "keywords"), registry) == 2
        view = ServedView(registry, patience=AT_ONCE)
        view.ensure([(MODEL, 2)])
        assert view.folder.linked() == {MODEL: {1, 2}}
        assert view.folder.served_names(MODEL) == {MODEL: {1}, f"{MODEL}.keyword-1": {2}}
        assert SiteLoader(registry).answers([(MODEL, 1), (MODEL, 2)])
        engine = open_engine(registry.site)
        async with engine:
            await both_answer(engine)
            assert await engine.ready(MODEL, 1) and await engine.ready(MODEL, 2)

            server.restart()
            assert server.refused == {}
            await both_answer(engine)

            publish(scaler_bundle(tmp_path / "next", 4), registry)  # now 2 is not the newest, and nobody holds it
            keep(registry, 1)
            changes = view.reconcile()
            assert (changes.added, changes.removed, changes.problems) == ([(MODEL, 3)], [(MODEL, 2)], {})
            np.testing.assert_array_equal((await engine.infer(MODEL, 3, GOOD))["y"], X * 4)
            async with asyncio.timeout(30):
                while await engine.ready(MODEL, 2):  # Triton says that it unloads before it has
                    await asyncio.sleep(0.01)
            assert view.folder.served_names(MODEL) == {MODEL: {1, 3}}


async def test_both_are_served_in_this_process(tmp_path: Path) -> None:
    with open_site(tmp_path, versions=1) as registry:
        publish(keyword_bundle(tmp_path / "keywords"), registry)

        async with OnnxEngine(registry.repo, Trust.of(registry.site)) as engine:
            await both_answer(engine)


WIDE = {"x": np.array([[1, 2, 3]], np.float32), "state": np.array([10], np.float32)}


async def each_answers_its_own_size(engine: Engine) -> None:
    """Version 2 takes three numbers and gives three, version 1 any number; a wrong size is refused, and no more."""
    with pytest.raises(EngineRejected, match="x"):
        await engine.infer(MODEL, 2, GOOD)
    np.testing.assert_array_equal((await engine.infer(MODEL, 2, WIDE))["y"], WIDE["x"] * 5)
    np.testing.assert_array_equal((await engine.infer(MODEL, 1, GOOD))["y"], X * 2)


@pytest.mark.triton
async def test_a_version_of_other_sizes_comes_beside_one_that_goes_on(tmp_path: Path) -> None:
    with open_site(tmp_path, versions=1) as registry, serving(registry) as server:
        view, pid = ServedView(registry, patience=AT_ONCE), server.pid
        ready = server.log_path.read_text().count(f"successfully loaded '{MODEL}'")
        engine = open_engine(registry.site)
        async with engine, flowing(engine, 1):
            assert await asyncio.to_thread(publish, scaler_bundle(tmp_path / "wide", 5, width=3), registry) == 2
            await asyncio.to_thread(view.ensure, [(MODEL, 2)])
            await each_answers_its_own_size(engine)
            own = (set(view.folder.served_names(MODEL)) - {MODEL}).pop()
            assert view.folder.served_names(MODEL) == {MODEL: {1}, own: {2}}
            assert control_of(server).serving() == {MODEL: {1}, own: {2}}

            assert await asyncio.to_thread(publish, scaler_bundle(tmp_path / "wide3", 4, width=3), registry) == 3
            await asyncio.to_thread(view.ensure, [(MODEL, 3)])
            assert view.folder.served_names(MODEL)[own] == {2, 3}, "another of these sizes joins it"
            log = server.log_path.read_text()
            assert log.count(f"successfully loaded '{MODEL}'") == ready > 0, "what answered was not loaded again"
        assert server.pid == pid and server.refused == {}


async def test_other_sizes_are_served_in_this_process(tmp_path: Path) -> None:
    with open_site(tmp_path, versions=1) as registry:
        publish(scaler_bundle(tmp_path / "wide", 5, width=3), registry)

        async with OnnxEngine(registry.repo, Trust.of(registry.site)) as engine:
            await each_answers_its_own_size(engine)


def test_a_version_lies_in_the_folder_of_its_implementation_alone(tmp_path: Path) -> None:
    with open_site(tmp_path) as registry:
        publish(keyword_bundle(tmp_path / "keywords"), registry)
        view = ServedView(registry)
        (view.folder.directory / MODEL / "1").mkdir(parents=True)

        assert view.prepare() == []

        assert view.folder.served_names(MODEL) == {f"{MODEL}.keyword-1": {1}}


def test_the_server_is_handed_a_version_under_its_implementations_name_alone(tmp_path: Path) -> None:
    with open_site(tmp_path) as registry:
        assert publish(keyword_bundle(tmp_path / "keywords"), registry) == 1
        version, trust = registry.repo / MODEL / "1", Trust.of(registry.site)

        assert handover(version, f"{MODEL}.keyword-1", 1, trust).startswith(b"input FP32 counts\n")
        for name in (MODEL, f"{MODEL}.joint-bio-1", "bank_nlu.keyword-1"):
            with pytest.raises(ParleyError):
                handover(version, name, 1, trust)


def test_kinds_of_tensors_differ_only_where_implementations_do(tmp_path: Path) -> None:
    with open_site(tmp_path, versions=1) as registry:
        other = keyword_bundle(tmp_path / "same")
        write_bundle(other, read_manifest(other).model_copy(update={"implementation": ""}))
        with pytest.raises(ParleyError, match="input 'counts'") as refused:
            publish(other, registry)
        assert "joint-bio/1" in refused.value.mend and "another model name" in refused.value.mend

        assert publish(keyword_bundle(tmp_path / "own"), registry) == 2
        assert publish(scaler_bundle(tmp_path / "third", 9), registry) == 3, "the first implementation's own go on"
        text = (registry.repo / MODEL / "config.pbtxt").read_text()
        assert f'name: "{MODEL}"' in text, "the copies beside the versions are the first implementation's"
