"""Bundles: the manifest binds every byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.bundle import Manifest, TensorSpec, read_manifest, verify_files, write_bundle
from parley.errors import ParleyError
from parley.files import canonical_json, sha256_json, write_atomic


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"weights")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "labels.json").write_text("{}")
    spec = TensorSpec(name="x", dtype="FP32", dims=[1])
    write_bundle(tmp_path, Manifest(family="nlu", bot="b", model="b_nlu", inputs=[spec], outputs=[spec]))
    return tmp_path


def test_a_whole_bundle_verifies(bundle: Path) -> None:
    assert set(verify_files(bundle).files) == {"model.onnx", "assets/labels.json"}
    assert read_manifest(bundle).model == "b_nlu"


@given(st.integers(0, 6), st.integers(1, 255))
def test_any_altered_byte_is_found(tmp_path_factory: pytest.TempPathFactory, position: int, change: int) -> None:
    directory = tmp_path_factory.mktemp("bundle")
    (directory / "model.onnx").write_bytes(b"weights")
    spec = TensorSpec(name="x", dtype="FP32", dims=[1])
    write_bundle(directory, Manifest(family="nlu", bot="b", model="b_nlu", inputs=[spec], outputs=[spec]))
    data = bytearray(b"weights")
    data[position] ^= change
    (directory / "model.onnx").write_bytes(bytes(data))

    with pytest.raises(ParleyError, match=r"model\.onnx: file is altered"):
        verify_files(directory)


def test_missing_and_added_files_are_named(bundle: Path) -> None:
    (bundle / "extra.py").write_text("")
    with pytest.raises(ParleyError, match=r"extra\.py: file is not listed"):
        verify_files(bundle)
    (bundle / "extra.py").unlink()
    (bundle / "model.onnx").unlink()
    with pytest.raises(ParleyError, match=r"model\.onnx: file is missing"):
        verify_files(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff\xfe", b'{"family": "vision"}'])
def test_a_damaged_manifest_is_one_clear_error(bundle: Path, content: bytes) -> None:
    (bundle / "manifest.json").write_bytes(content)
    with pytest.raises(ParleyError, match="manifest is damaged"):
        read_manifest(bundle)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
)


@given(st.dictionaries(st.text(), json_values))
def test_a_digest_does_not_depend_on_the_order_of_keys(obj: dict[str, object]) -> None:
    assert sha256_json(obj) == sha256_json(dict(reversed(obj.items())))


@given(json_values, json_values)
def test_different_content_has_different_canonical_text(a: object, b: object) -> None:
    if canonical_json(a) == canonical_json(b):
        assert a == b


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "f.json"
    write_atomic(target, "old")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(target, "new")

    assert target.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["f.json"]
