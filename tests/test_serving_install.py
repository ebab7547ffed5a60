"""What a machine lacks is said before a server waits for it for ever."""

import importlib.util
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from serving_models import damage
from serving_site import MODEL, open_site

from parley import doctor
from parley.errors import ParleyError
from parley.serving import triton_install, triton_server
from parley.serving.triton_install import (
    TritonInstall,
    check_stub,
    find_triton,
    lay_out_backends,
    server_environment,
    view_of,
)
from parley.serving.triton_server import TritonServer
from parley.settings import Settings
from registry.served import ServedView


@pytest.fixture
def foreign_install() -> TritonInstall:
    """The real wheel with the stub of a Python whose library this machine does not have."""
    install = find_triton()
    stub = install.stub.parent.parent / "3.8" / install.stub.name
    if triton_install.ctypes.util.find_library("python3.8"):
        pytest.skip("this machine has libpython3.8")
    return replace(install, stub=stub)


def test_missing_libpython_is_named_with_its_package(foreign_install: TritonInstall) -> None:
    with pytest.raises(ParleyError, match=r"libpython3\.8\.so\.1\.0 is missing") as caught:
        check_stub(foreign_install, server_environment(foreign_install, None))

    assert "apt-get install libpython3" in caught.value.mend


def test_stub_of_this_python_can_start() -> None:
    install = find_triton()

    check_stub(install, server_environment(install, triton_install.find_libpython()))


def test_missing_wheel_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ParleyError, match="no tritonserver") as caught:
        find_triton()

    assert "pip install nvidia-pytriton" in caught.value.mend


def test_server_environment_holds_no_keys_of_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_PSEUDONYM_KEY", "secret")

    environment = server_environment(find_triton(), None)

    assert "secret" not in environment.values()
    assert environment["OMP_NUM_THREADS"] == "1"


def test_backends_are_copies_without_anything_that_python_would_run_instead(tmp_path: Path) -> None:
    install = find_triton()
    lay_out_backends(install, tmp_path)
    ours = tmp_path / "parley" / "model.py"
    text = ours.read_text()
    (ours.parent / "__pycache__").mkdir()
    (ours.parent / "__pycache__" / "model.cpython-311.pyc").write_bytes(b"planted")
    (ours.parent / "numpy.py").write_text("planted")
    ours.write_text("planted")

    lay_out_backends(install, tmp_path)

    assert [path.name for path in ours.parent.iterdir()] == ["model.py"] and ours.read_text() == text
    assert {path.name for path in (tmp_path / "python").iterdir()} >= {install.stub.name, "libtriton_python.so"}
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


@pytest.mark.triton
def test_stub_that_cannot_start_fails_with_its_reason_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign_install: TritonInstall
) -> None:
    with open_site(tmp_path, versions=1) as registry:
        ServedView(registry).prepare()
    monkeypatch.setattr(triton_server, "find_triton", lambda: foreign_install)
    monkeypatch.setattr(triton_server, "check_stub", lambda *_: None)  # so that the server itself meets the problem
    server = TritonServer(view_of(registry.site.state_dir), registry.site.state_dir, deadline_s=5)

    with pytest.raises(ParleyError, match=r"libpython3\.8\.so\.1\.0 is missing"):
        server.start()

    assert server.pid is None
    assert not (tmp_path / "var" / "triton.json").exists()


def test_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = TritonServer(tmp_path / "repo", tmp_path / "var", grpc_port=port)

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


def test_doctor_asks_for_libpython_only_where_triton_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_install, "find_libpython", lambda: None)
    name = f"libpython{triton_install.PYTHON}.so"

    assert findings(Settings())[name].status == "missing"
    assert findings(Settings())[name].mend == f"apt-get install libpython{triton_install.PYTHON}"
    assert findings(Settings(engine="onnx"))[name].status == "warning"
    assert findings(Settings(triton_grpc="gpu-node:8001"))[name].status == "warning"
