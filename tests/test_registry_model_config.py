"""Triton's configuration is a function of the manifests."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from serving_models import damage, scaler_bundle
from tritonclient.grpc import model_config_pb2

from parley.bundle import read_manifest
from parley.errors import ParleyError
from registry.model_config import render, write_configs
from registry.publish import publish

GOLDEN = """\
# Generated from the manifests of the versions beside it; do not edit.
name: "barista_nlu"
backend: "python"
default_model_filename: "model.py"
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]
input [ { name: "state" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "state_out" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 500 }
instance_group [ { kind: KIND_CPU count: 1 } ]
version_policy { specific { versions: [ 1, 3 ] } }
model_warmup [ { name: "zeros" batch_size: 1
  inputs { key: "x" value: { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
  inputs { key: "state" value: { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } }
} ]
"""


def test_cpu_configuration_is_this_text(tmp_path: Path) -> None:
    manifest = read_manifest(scaler_bundle(tmp_path / "bundle", 2))

    assert render(manifest, [3, 1]) == GOLDEN


@pytest.mark.parametrize(
    ("target", "backend", "platform", "file", "kind"),
    [
        ("cpu", "python", "", "model.py", "KIND_CPU"),
        ("gpu_onnxruntime", "onnxruntime", "", "model.onnx", "KIND_GPU"),
        ("gpu_tensorrt", "", "tensorrt_plan", "model.plan", "KIND_GPU"),
    ],
)
def test_every_target_is_a_configuration_triton_can_parse(
    tmp_path: Path, target: str, backend: str, platform: str, file: str, kind: str
) -> None:
    manifest = read_manifest(scaler_bundle(tmp_path / "bundle", 2))

    config = text_format.Parse(render(manifest, [1], target), model_config_pb2.ModelConfig())  # type: ignore[arg-type]

    assert (config.backend, config.platform, config.default_model_filename) == (backend, platform, file)
    group = config.instance_group[0]
    assert model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind) == kind
    assert list(config.version_policy.specific.versions) == [1]
    assert config.input[1].HasField("reshape") and not config.input[0].HasField("reshape")


def test_writing_again_touches_nothing(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    publish(scaler_bundle(tmp_path / "bundle", 2), repo)
    files = sorted(repo.rglob("*.pbtxt"))
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files]

    assert write_configs(repo) == ["barista_nlu"]

    assert [path.name for path in files] == ["config.pbtxt", "gpu_onnxruntime.pbtxt", "gpu_tensorrt.pbtxt"]
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files] == before


def test_damaged_version_is_named_and_the_others_stay(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    for factor in (2, 3):
        publish(scaler_bundle(tmp_path / f"b{factor}", factor), repo)
    publish(scaler_bundle(tmp_path / "other", 5, model="barista_nlg"), repo)
    damage(repo / "barista_nlu" / "2" / "model.onnx")
    problems: list[ParleyError] = []

    names = write_configs(repo, problems)

    assert names == ["barista_nlg", "barista_nlu"]
    assert [problem.where for problem in problems] == [str(repo / "barista_nlu" / "2" / "model.onnx")]
    assert "versions: [ 1 ]" in (repo / "barista_nlu" / "config.pbtxt").read_text()
    with pytest.raises(ParleyError, match="altered"):
        write_configs(repo)


def test_version_copied_by_hand_is_refused(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    publish(scaler_bundle(tmp_path / "bundle", 2), repo)
    (repo / "barista_nlu" / "1").rename(repo / "barista_nlu" / "2")

    with pytest.raises(ParleyError, match="version 1"):
        write_configs(repo)


def test_warmup_of_an_unknown_input_is_refused(tmp_path: Path) -> None:
    manifest = read_manifest(scaler_bundle(tmp_path / "bundle", 2)).model_copy(update={"warmup": {"z": [1]}})

    with pytest.raises(ParleyError, match="'z'"):
        render(manifest, [1])
