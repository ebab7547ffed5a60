"""Bundles whose graph is changed, and what inspecting says to one that is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from parley.errors import ParleyError
from registry.versions.file_content import Limits
from registry.versions.inspection import inspect_bundle


def refuse(bundle: Path, name: str, reason: str, limits: Limits | None = None) -> None:
    with pytest.raises(ParleyError, match=reason) as caught:
        inspect_bundle(bundle, limits)
    assert caught.value.where == str(bundle / name)


def save(bundle: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(str(bundle / "model.onnx"))
    change(model)
    (bundle / "model.onnx").write_bytes(model.SerializeToString())


def external(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change
