"""Triton's configuration is a function of one manifest."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from serving_models import scaler_bundle
from tritonclient.grpc import model_config_pb2

from parley.bundle import Manifest, TensorSpec, read_manifest
from parley.errors import ParleyError
from registry.versions.model_config import check_same_contract, config_files, render, sizes_of, write_model_config

GOLDEN = """\
# Generated from manifest.json; do not edit.
name: "barista_nlu"
backend: "parley"
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]
input [ { name: "state" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "state_out" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 500 }
instance_group [ { kind: KIND_CPU count: 1 } ]
version_policy { all { } }
model_warmup [ { name: "zeros" batch_size: 1
  inputs { key: "x" value: { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
  inputs { key: "state" value: { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } }
} ]
"""


def test_cpu_configuration_is_this_text(tmp_path: Path) -> None:
    assert render(read_manifest(scaler_bundle(tmp_path / "bundle", 2))) == GOLDEN


def test_version_does_not_show_in_the_text(tmp_path: Path) -> None:
    """Triton reloads every version of a model when its text changes, so publishing must not change it."""
    manifest = read_manifest(scaler_bundle(tmp_path / "bundle", 2))

    texts = [config_files(manifest.model_copy(update={"version": number})) for number in (1, 2)]

    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("target", "backend", "platform", "file", "kind"),
    [
        ("cpu", "parley", "", "", "KIND_CPU"),
        ("gpu_onnxruntime", "onnxruntime", "", "model.onnx", "KIND_GPU"),
        ("gpu_tensorrt", "", "tensorrt_plan", "model.plan", "KIND_GPU"),
    ],
)
def test_every_target_is_a_configuration_triton_can_parse(
    tmp_path: Path, target: str, backend: str, platform: str, file: str, kind: str
) -> None:
    manifest = read_manifest(scaler_bundle(tmp_path / "bundle", 2))

    config = text_format.Parse(render(manifest, target), model_config_pb2.ModelConfig())  # type: ignore[arg-type]

    assert (config.backend, config.platform, config.default_model_filename) == (backend, platform, file)
    group = config.instance_group[0]
    assert model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind) == kind
    assert config.version_policy.HasField("all")
    assert config.input[1].HasField("reshape") and not config.input[0].HasField("reshape")


def test_writing_again_touches_nothing(tmp_path: Path) -> None:
    manifest = read_manifest(scaler_bundle(tmp_path / "bundle", 2))
    assert write_model_config(manifest, tmp_path / manifest.model)
    files = sorted((tmp_path / manifest.model).rglob("*.pbtxt"))
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files]

    assert not write_model_config(manifest, tmp_path / manifest.model)

    assert [path.name for path in files] == ["config.pbtxt", "gpu_onnxruntime.pbtxt", "gpu_tensorrt.pbtxt"]
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files] == before


def test_warmup_of_an_unknown_input_is_refused(tmp_path: Path) -> None:
    manifest = read_manifest(scaler_bundle(tmp_path / "bundle", 2)).model_copy(update={"warmup": {"z": [1]}})

    with pytest.raises(ParleyError, match="'z'"):
        render(manifest)


def test_manifest_without_a_batch_dimension_is_refused(tmp_path: Path) -> None:
    manifest = read_manifest(scaler_bundle(tmp_path / "bundle", 2)).model_copy(update={"max_batch_size": 0})

    with pytest.raises(ParleyError, match="max_batch_size"):
        render(manifest)


def understander(intents: int = 11, **changed: TensorSpec) -> Manifest:
    """An NLU's manifest for so many intents, with some of its tensors changed."""
    tensors = {
        "input_ids": TensorSpec(name="input_ids", dtype="INT64", dims=[-1]),
        "intent_logits": TensorSpec(name="intent_logits", dtype="FP32", dims=[intents]),
    } | changed
    return Manifest(
        family="nlu", bot="barista", model="barista_nlu", version=1,
        inputs=[tensors["input_ids"]], outputs=[tensors["intent_logits"]],
    )  # fmt: skip


def test_versions_of_other_sizes_keep_the_contract_under_another_name_alone() -> None:
    first, more = understander(11), understander(12)
    own = more.model_copy(update={"sizes": sizes_of(more, [first])})

    check_same_contract(first, own)
    with pytest.raises(ParleyError, match=r"'intent_logits' as FP32 \[ 12 \], version 1 as FP32 \[ 11 \]"):
        check_same_contract(first, more)

    assert own.served_as.startswith("barista_nlu.") and f'name: "{own.served_as}"' in render(own)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("intent_logits", TensorSpec(name="intent_logits", dtype="FP16", dims=[11])),
        ("intent_logits", TensorSpec(name="intent_logits", dtype="FP32", dims=[-1, 11])),
        ("input_ids", TensorSpec(name="ids", dtype="INT64", dims=[-1])),
    ],
    ids=["another type", "another rank", "another name"],
)
def test_other_kinds_of_tensors_are_refused_under_any_name(name: str, spec: TensorSpec) -> None:
    other = understander(**{name: spec})
    other = other.model_copy(update={"sizes": sizes_of(other, [understander()])})

    with pytest.raises(ParleyError, match="export it under another model name"):
        check_same_contract(understander(), other)


def test_versions_of_equal_sizes_share_a_name_whatever_came_between() -> None:
    first, more = understander(11), understander(12)
    assert sizes_of(first, []) == ""

    more = more.model_copy(update={"sizes": sizes_of(more, [first])})

    assert sizes_of(first, [more, first]) == "" != more.sizes
    assert sizes_of(understander(12), [first, more]) == more.sizes
    keyword = first.model_copy(update={"implementation": "keyword/1"})
    assert sizes_of(keyword, [more, first]) == "", "the first of its implementation"
