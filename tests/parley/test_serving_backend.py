"""Triton's backend in C, on the real tritonserver: types, batches, refusals; and what Python hands over to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper
from serving_models import damage, scaler_bundle
from serving_site import MODEL, children_of, engine_of, open_site, serving

from parley.bundle import Manifest, TensorSpec, read_manifest, write_bundle
from parley.errors import ParleyError
from parley.serving.engine import EngineRejected
from parley.serving.handover import handover, main
from parley.serving.triton_control import HttpControl
from parley.serving.triton_server import TritonServer
from parley.serving.trust import Trust
from registry.served import ServedView
from registry.site import Registry
from registry.versions.publish import publish

pytestmark = pytest.mark.anyio
KINDS = {
    "FP32": TensorProto.FLOAT,
    "FP16": TensorProto.FLOAT16,
    "INT64": TensorProto.INT64,
    "INT32": TensorProto.INT32,
    "INT16": TensorProto.INT16,
    "INT8": TensorProto.INT8,
    "UINT8": TensorProto.UINT8,
    "BOOL": TensorProto.BOOL,
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def types_bundle(directory: Path) -> Path:
    """Gives each input back, one of each type, and beside it a large tensor: `room` numbers for each of its items."""
    nodes = [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in KINDS]
    nodes += [
        helper.make_node("ReduceMax", ["room"], ["width"], keepdims=0),
        helper.make_node("Shape", ["room"], ["all"]),
        helper.make_node("Gather", ["all", "zero"], ["rows"]),
        helper.make_node("Unsqueeze", ["rows", "zero_axis"], ["rows1"]),
        helper.make_node("Unsqueeze", ["width", "zero_axis"], ["width1"]),
        helper.make_node("Concat", ["rows1", "width1"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["large"]),
        helper.make_node("ReduceSum", ["large", "one_axis"], ["sum"], keepdims=1),
    ]
    shape: list[str | int] = ["batch", "n"]
    inputs = [helper.make_tensor_value_info(f"in_{name}", kind, shape) for name, kind in KINDS.items()]
    outputs = [helper.make_tensor_value_info(f"out_{name}", kind, shape) for name, kind in KINDS.items()]
    graph = helper.make_graph(
        nodes,
        "types",
        [*inputs, helper.make_tensor_value_info("room", TensorProto.INT64, ["batch", 1])],
        [*outputs, helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", 1])],
        [
            helper.make_tensor("zero", TensorProto.INT64, [], [0]),
            helper.make_tensor("zero_axis", TensorProto.INT64, [1], [0]),
            helper.make_tensor("one_axis", TensorProto.INT64, [1], [1]),
        ],
    )
    directory.mkdir(parents=True)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 9
    onnx.save(proto, str(directory / "model.onnx"))
    manifest = Manifest(
        family="nlg",
        bot="barista",
        model="barista_nlg",
        inputs=[
            *(TensorSpec(name=f"in_{name}", dtype=name, dims=[-1]) for name in KINDS),  # type: ignore[arg-type]
            TensorSpec(name="room", dtype="INT64", dims=[1]),
        ],
        outputs=[
            *(TensorSpec(name=f"out_{name}", dtype=name, dims=[-1]) for name in KINDS),  # type: ignore[arg-type]
            TensorSpec(name="sum", dtype="FP32", dims=[1]),
        ],
        instance_count=2,
    )
    write_bundle(directory, manifest)
    return directory


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("site")
    with open_site(folder, versions=1) as opened:
        publish(types_bundle(folder / "types"), opened)
        yield opened


@pytest.fixture(scope="module")
def server(registry: Registry) -> Iterator[TritonServer]:
    with serving(registry) as running:
        assert running.refused == {}
        yield running


def of_every_type(rows: int, columns: int, seed: int, room: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    dtypes = [np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_]
    values = rng.integers(0, 100, size=(len(dtypes), rows, columns))
    inputs = {f"in_{name}": v.astype(t) for name, v, t in zip(KINDS, values, dtypes, strict=True)}
    return {**inputs, "room": np.full((rows, 1), room)}


@pytest.mark.triton
async def test_every_type_comes_back_as_it_went_whatever_shares_its_batch(server: TritonServer) -> None:
    asked = [of_every_type(rows=1 + i % 3, columns=i % 4, seed=i) for i in range(40)]  # some hold no element at all
    async with engine_of(server, channels=2) as engine:
        answers = await asyncio.gather(*(engine.infer("barista_nlg", 1, inputs) for inputs in asked))

    for inputs, answer in zip(asked, answers, strict=True):
        for name in KINDS:
            np.testing.assert_array_equal(answer[f"out_{name}"], inputs[f"in_{name}"])
            assert answer[f"out_{name}"].dtype == inputs[f"in_{name}"].dtype


@pytest.mark.triton
async def test_a_request_that_wants_more_memory_than_there_is_fails_alone(server: TritonServer) -> None:
    pid = server.pid
    async with engine_of(server) as engine:
        asked = [of_every_type(1, 2, seed=i, room=1 << 40 if i == 3 else 7) for i in range(6)]
        answers = await asyncio.gather(
            *(engine.infer("barista_nlg", 1, inputs) for inputs in asked), return_exceptions=True
        )

    refused = answers.pop(3)
    assert isinstance(refused, EngineRejected) and "refused" in refused.what
    assert all(isinstance(answer, dict) for answer in answers) and server.pid == pid


@pytest.mark.triton
def test_only_the_outputs_that_are_asked_for_come(server: TritonServer) -> None:
    tensor, state = triton.InferInput("x", [1, 2], "FP32"), triton.InferInput("state", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 2), np.float32))
    state.set_data_from_numpy(np.ones((1, 1), np.float32))
    with triton.InferenceServerClient(server.grpc_address) as client:
        result = client.infer(MODEL, [tensor, state], outputs=[triton.InferRequestedOutput("y")])

    assert [output.name for output in result.get_response().outputs] == ["y"]
    np.testing.assert_array_equal(result.as_numpy("y"), [[2, 2]])


@pytest.mark.triton
def test_inputs_that_disagree_about_the_batch_are_refused(server: TritonServer) -> None:
    tensor, state = triton.InferInput("x", [2, 2], "FP32"), triton.InferInput("state", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.ones((2, 2), np.float32))
    state.set_data_from_numpy(np.ones((1, 1), np.float32))
    with (
        triton.InferenceServerClient(server.grpc_address) as client,
        pytest.raises(triton.InferenceServerException, match="batch size"),
    ):
        client.infer(MODEL, [tensor, state])


@pytest.mark.triton
def test_a_graph_without_what_its_manifest_names_is_refused(
    server: TritonServer, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = scaler_bundle(tmp_path / "other", 5)
    proto = onnx.load(str(bundle / "model.onnx"))
    proto.graph.node[0].output[0] = proto.graph.output[0].name = "z"
    onnx.save(proto, str(bundle / "model.onnx"))
    write_bundle(bundle, read_manifest(bundle))
    publish_unseen(bundle, registry, monkeypatch)

    with pytest.raises(EngineRejected, match="no tensor 'y' of type FP32"):
        ServedView(registry).ensure([(MODEL, 2)])

    assert HttpControl(server.http_address).ready(MODEL, 1)
    assert server.pid is not None and children_of(server.pid) == set()  # every check was waited for


def publish_unseen(bundle: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish past publishing's own look at the graph, so that the server itself meets the problem."""
    import contextlib

    from registry.versions import publish as publishing

    monkeypatch.setattr(publishing, "inspecting", lambda _: contextlib.nullcontext())
    publish(bundle, registry)


def test_the_handover_is_the_tensors_and_the_graph_that_was_checked(tmp_path: Path) -> None:
    with open_site(tmp_path, versions=1) as site:
        version, trust = site.repo / MODEL / "1", Trust.of(site.site)

        content = handover(version, MODEL, 1, trust)

        head = b"input FP32 x\ninput FP32 state\noutput FP32 y\noutput FP32 state_out\ngraph\n"
        assert content == head + (version / "model.onnx").read_bytes()
        damage(version / "model.onnx")
        with pytest.raises(ParleyError, match=r"model\.onnx: file is altered"):
            handover(version, MODEL, 1, trust)


def test_a_version_that_is_not_handed_over_says_why_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with open_site(tmp_path, versions=1) as site:
        for name, value in Trust.of(site.site).environment().items():
            monkeypatch.setenv(name, value)

        assert main([str(site.repo / MODEL / "1"), MODEL, "2"]) == 1

    said = capfdbinary.readouterr().out.decode()
    assert "never accepted this version" in said and len(said.splitlines()) == 1
