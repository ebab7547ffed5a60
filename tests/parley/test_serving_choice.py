"""One setting picks the engine."""

import os
from pathlib import Path

import pytest

from parley.errors import ParleyError
from parley.serving.choice import open_engine
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.triton_engine import TritonEngine
from parley.serving.triton_record import ServerRecord, process_started, write_record
from parley.settings import Settings


def record_of(pid: int, started: int) -> ServerRecord:
    return ServerRecord(
        pid=pid,
        started=started,
        owner_pid=0,
        owner_started=0,
        grpc="127.0.0.1:7",
        http="127.0.0.1:8",
        metrics="127.0.0.1:9",
    )


def test_setting_picks_the_engine(tmp_path: Path) -> None:
    onnx = open_engine(Settings(engine="onnx", repo_dir=tmp_path))
    triton = open_engine(Settings(engine="triton", triton_grpc="gpu-node:8001"))

    assert isinstance(onnx, OnnxEngine)
    assert isinstance(triton, TritonEngine) and triton.address == "gpu-node:8001"


def test_server_of_the_site_is_found_by_its_note(tmp_path: Path) -> None:
    started = process_started(os.getpid())
    assert started is not None
    write_record(tmp_path, record_of(os.getpid(), started))

    engine = open_engine(Settings(state_dir=tmp_path))

    assert isinstance(engine, TritonEngine) and engine.address == "127.0.0.1:7"


def test_note_of_a_process_that_only_shares_the_number_is_not_believed(tmp_path: Path) -> None:
    write_record(tmp_path, record_of(os.getpid(), 1))

    with pytest.raises(ParleyError, match="no Triton server runs") as caught:
        open_engine(Settings(state_dir=tmp_path))

    assert "parley serve" in caught.value.mend
