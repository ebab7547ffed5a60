"""Files are accepted by what they contain. What could hurt its reader is read in a child that may die of it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import pickle
import signal
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refused_bundle import external, refuse, save
from serving_models import lookup_bundle, scaler_bundle, slow_bundle

from parley.errors import ParleyError
from registry.versions import file_content
from registry.versions.file_content import Limits
from registry.versions.inspection import inspect_bundle

ROOT = Path(__file__).parents[2]


class Exploit:
    """What a pickle does to who loads it."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("true",)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return scaler_bundle(tmp_path / "bundle", 2)


@pytest.mark.parametrize("make", [scaler_bundle, lookup_bundle, slow_bundle], ids=lambda make: make.__name__)
def test_graphs_of_bundles_pass(tmp_path: Path, make: Callable[..., Path]) -> None:
    inspect_bundle(make(tmp_path / "bundle", 2))


@pytest.mark.parametrize(
    "version",
    [
        "barista_stt/1",
        "barista_stt/2",
        "barista_stt/3",
        "barista_nlu/1",
        "barista_nlg/1",
        "barista_tts/1",
        "bank_nlu/1",
        "bank_nlg/1",
    ],
)
def test_starter_versions_pass(version: str) -> None:
    inspect_bundle(ROOT / "triton_repo" / version)


# --- pickle, in every disguise -----------------------------------------------------------------------------------


def tar_of(content: bytes, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as archive:
        entry = tarfile.TarInfo("data.pkl")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def old_tar_of(content: bytes) -> bytes:
    """A header without the ustar mark, as tar wrote before POSIX."""
    whole = bytearray(tar_of(content))
    whole[257:265] = bytes(8)
    whole[148:156] = b" " * 8
    whole[148:156] = b"%06o\0 " % sum(whole[:512])
    return bytes(whole)


def zip_of(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return buffer.getvalue()


def npy_of(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([value], dtype=object), allow_pickle=True)
    return buffer.getvalue()


EXPLOIT = pickle.dumps(Exploit())
DISGUISES = {f"protocol {p}": pickle.dumps(Exploit(), protocol=p) for p in range(6)} | {
    "plain data, protocol 0": pickle.dumps({"weights": [1.0, 2.0]}, protocol=0),
    "plain data, protocol 2": pickle.dumps({"weights": [1.0, 2.0]}, protocol=2),
    "without its end": pickle.dumps(Exploit(), protocol=0)[:-1] + b"\xff",
    "zip": zip_of(EXPLOIT),
    "zip behind a model": b"\x08\x08" + zip_of(EXPLOIT),
    "tar": tar_of(EXPLOIT),
    "tar of old": old_tar_of(EXPLOIT),
    "tar.gz": gzip.compress(tar_of(EXPLOIT)),
    "gzip": gzip.compress(EXPLOIT),
    "bzip2": bz2.compress(EXPLOIT),
    "numpy objects": npy_of(Exploit()),
}


@pytest.mark.parametrize("name", ["model.onnx", "labels.json", "notes.txt", "model.plan", "weights"])
@pytest.mark.parametrize("disguise", DISGUISES)
def test_pickle_is_refused_whatever_it_is_called(bundle: Path, disguise: str, name: str) -> None:
    (bundle / name).write_bytes(DISGUISES[disguise])

    refuse(bundle, name, "pickle|archive|gzip|bzip2|numpy")


def test_checkpoint_of_torch_is_refused(bundle: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"weights": torch.zeros(2)}, bundle / "model.onnx")

    refuse(bundle, "model.onnx", "zip archive")


def test_texts_that_look_a_little_like_a_pickle_pass(bundle: Path) -> None:
    for number, text in enumerate(["N.", "1", "(the rest.", "I am here.\n", ")"]):
        (bundle / f"note{number}.txt").write_text(text)

    inspect_bundle(bundle)


# --- other kinds of files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.onnx", b"", "an empty file"),
        ("notes.txt", b"", "an empty file"),
        ("weights.bin", b"\x00\x01\x02\xff", "neither ONNX nor JSON nor UTF-8"),
        ("labels.json", b"{", "not JSON"),
        ("labels.json", b"\xff\xfe{\x00}\x00", "UTF-8"),
        ("labels.json", b"[" * 5000, "nested|not JSON"),
        ("labels.json", b"[" * 70 + b"]" * 70, "nested more than 64"),
        ("notes.txt", b"a\x00b", "control characters"),
        ("run.sh", b"#!/bin/sh\n", "script"),
        ("lib.so", b"\x7fELF\x02\x01", "program"),
        ("model.plan", b"no plan", "no TensorRT plan"),
        ("other.plan", b"ftrt\x00\x00", "control|neither"),
    ],
)
def test_other_kinds_are_refused(bundle: Path, name: str, content: bytes, reason: str) -> None:
    (bundle / name).write_bytes(content)

    refuse(bundle, name, reason)


def test_tensorrt_plan_passes_under_its_name(bundle: Path) -> None:
    (bundle / "model.plan").write_bytes(b"ftrt" + bytes(range(256)))

    inspect_bundle(bundle)


@pytest.mark.parametrize("kind", ["symlink", "hard link", "linked folder", "pipe"])
def test_what_is_no_file_of_the_bundle_is_refused(bundle: Path, tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "outside" / "secret.txt"
    secret.parent.mkdir()
    secret.write_text("not yours")
    at = bundle / "extra"
    if kind == "symlink":
        at.symlink_to(secret)
    elif kind == "hard link":
        os.link(secret, at)
    elif kind == "linked folder":
        at.symlink_to(secret.parent)
    else:
        os.mkfifo(at)

    refuse(bundle, "extra", "symlink|hard link|neither")


# --- graphs ------------------------------------------------------------------------------------------------------

# --- sizes and the child -----------------------------------------------------------------------------------------


def test_too_many_or_too_large_files_are_refused_unread(bundle: Path) -> None:
    with pytest.raises(ParleyError, match="3 files; 2 is most"):
        inspect_bundle(bundle, Limits(files=2))
    with (bundle / "zeros.txt").open("wb") as file:
        file.truncate(3 << 30)  # a hole: it takes no space here, and would in the reader
    refuse(bundle, "zeros.txt", "larger than 1024 MB")


def test_file_that_needs_too_much_memory_is_refused(bundle: Path) -> None:
    (bundle / "labels.json").write_text(json.dumps(["x" * 50] * 500_000))

    refuse(bundle, "labels.json", "takes more than 24 MB", Limits(memory_bytes=24 << 20))


def misbehave(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let the child meet a file that does to it what a hostile one might."""
    original = file_content._examine_file

    def meet(path: Path, limits: Limits) -> None:
        if path.name == "labels.json":
            act()
        original(path, limits)

    monkeypatch.setattr(file_content, "_examine_file", meet)


def spin() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("act", "limits", "reason"),
    [
        (spin, Limits(cpu_s=0), "processor time"),
        (spin, Limits(wall_s=0.5), "took longer than 0.5 s"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), Limits(), "crashed its process .SIGSEGV"),
        (lambda: os._exit(7), Limits(), "ended with status 7"),
    ],
    ids=["processor", "deadline", "crash", "exit"],
)
def test_death_of_the_child_is_a_refusal_with_its_reason(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], limits: Limits, reason: str
) -> None:
    alone(monkeypatch)
    misbehave(monkeypatch, act)

    refuse(bundle, "labels.json", reason, limits)


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever threads other tests left: the child is forked, so that it knows what the test replaced."""
    monkeypatch.setattr("registry.versions.inspection._alone", lambda: True)


def test_child_can_write_no_file(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)
    misbehave(monkeypatch, lambda: (tmp_path / "written").write_text("x") and None)

    with pytest.raises(ParleyError, match="SIGXFSZ|status"):
        inspect_bundle(bundle)

    assert not (tmp_path / "written").exists() or not (tmp_path / "written").read_text()


def test_process_with_threads_starts_a_fresh_interpreter(bundle: Path) -> None:
    """A fork would copy locks that other threads hold."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        inspect_bundle(bundle)
        save(bundle, external("../x"))
        refuse(bundle, "model.onnx", "outside of the file", replace(Limits(), wall_s=60.0))
    finally:
        end.set()
        thread.join()


def test_child_keeps_no_lock_of_a_publisher_that_is_gone(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is an open file: a child that inherits it would hold it after the publisher was killed."""
    alone(monkeypatch)
    answer, told = os.pipe()
    os.set_blocking(answer, False)
    misbehave(monkeypatch, lambda: os.write(told, b"still open") and None)

    with pytest.raises(ParleyError, match="status 1"):
        inspect_bundle(bundle)

    with pytest.raises(BlockingIOError):
        os.read(answer, 100)
    os.close(answer)
    os.close(told)
