"""What a machine lacks is said before a server waits for it for ever."""

import importlib.util
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from serving_models import damage
from serving_site import MODEL, open_site

from parley import doctor
from parley.errors import ParleyError
from parley.serving import triton_install, triton_server
from parley.serving.triton_install import COMPILE, SOURCES, find_triton, lay_out_backends, server_environment, view_of
from parley.serving.triton_server import TritonServer
from parley.settings import Settings


def test_missing_wheel_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ParleyError, match="no tritonserver") as caught:
        find_triton()

    assert "pip install nvidia-pytriton" in caught.value.mend


def test_server_environment_holds_no_keys_of_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_PSEUDONYM_KEY", "secret")

    environment = server_environment(find_triton())

    assert "secret" not in environment.values()
    assert environment["OMP_NUM_THREADS"] == "1"


def test_the_backend_compiles_without_a_warning(tmp_path: Path) -> None:
    strict = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")

    done = subprocess.run(
        [*COMPILE, *strict, "-o", tmp_path / "backend.so", *SOURCES.glob("*.c")], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr


def test_the_backend_is_compiled_once_and_again_after_anything_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Path] = []

    def compile_(compiler: Sequence[str], sources: list[Path], library: Path) -> None:
        compiled.append(library)
        library.write_bytes(b"the backend")

    monkeypatch.setattr(triton_install, "_compile", compile_)
    library = lay_out_backends(tmp_path / "backends") / "parley" / "libtriton_parley.so"
    lay_out_backends(tmp_path / "backends")
    assert compiled == [library]

    library.write_bytes(b"planted")
    (library.parent / "libplanted.so").write_bytes(b"planted")
    lay_out_backends(tmp_path / "backends")
    lay_out_backends(tmp_path / "backends", (*COMPILE, "-g"))

    assert len(compiled) == 3
    assert list(library.parent.iterdir()) == [library] and library.read_bytes() == b"the backend"


def test_a_machine_without_a_compiler_is_told_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ParleyError, match="no C compiler") as caught:
        lay_out_backends(tmp_path / "backends")

    assert caught.value.mend == "apt-get install gcc libc6-dev"


def test_a_server_that_cannot_start_fails_with_its_reason_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "tritonserver"
    binary.write_text(
        "#!/bin/sh\necho 'x: error while loading shared libraries: libz.so.1: cannot open' >&2\nexit 127\n"
    )
    binary.chmod(0o755)
    install = replace(find_triton(), binary=binary)
    monkeypatch.setattr(triton_server, "find_triton", lambda: install)
    monkeypatch.setattr(triton_server, "lay_out_backends", lambda directory: directory)
    server = TritonServer(view_of(tmp_path / "var"), tmp_path / "var", deadline_s=5)

    with pytest.raises(ParleyError, match=r"libz\.so\.1 is missing"):
        server.start()

    assert server.pid is None
    assert not (tmp_path / "var" / "triton.json").exists()


def test_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = TritonServer(tmp_path / "repo", tmp_path / "var", metrics_port=port)

        with pytest.raises(ParleyError, match=f"port {port} on 127.0.0.1") as caught:
            server.start()

    assert "another port" in caught.value.mend
    assert server.pid is None


def findings(settings: Settings) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine(settings)}


def test_doctor_finds_what_is_here_and_what_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_site(tmp_path, versions=2) as registry:
        damage(registry.repo / MODEL / "2" / "model.onnx")
    monkeypatch.setenv("PATH", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        found = findings(Settings(repo_dir=tmp_path / "repo", port=port))

    assert found["tritonserver"].status == "ok"
    assert found["barista_nlu 1"].status == "ok"
    assert found["barista_nlu 2"].status == "missing" and "model.onnx" in found["barista_nlu 2"].detail
    assert found["espeak-ng"].mend == "apt-get install espeak-ng"
    assert found[f"port {port}"].status == "missing"
    assert not doctor.healthy(list(found.values()))


def test_doctor_asks_for_a_compiler_only_where_triton_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert findings(Settings())["gcc"].status == "missing"
    assert findings(Settings())["gcc"].mend == "apt-get install gcc libc6-dev"
    assert findings(Settings(engine="onnx"))["gcc"].status == "warning"
    assert findings(Settings(triton_grpc="gpu-node:8001"))["gcc"].status == "warning"
