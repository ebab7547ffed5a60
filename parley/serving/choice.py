"""Which engine answers, by the site's settings.

async with open_engine(settings()) as engine:
    outputs = await engine.infer("barista_nlu", 1, {"tokens": tokens})
"""

from __future__ import annotations

from parley.errors import ParleyError
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.triton_engine import TritonEngine
from parley.serving.triton_record import read_record
from parley.serving.trust import Trust
from parley.settings import Settings


def open_engine(settings: Settings, *, channels: int = 1) -> OnnxEngine | TritonEngine:
    """The engine that `PARLEY_ENGINE` names.

    For `triton` that is the server at `PARLEY_TRITON_GRPC`, else the one that this site runs (found by the note in the
    state folder). Nothing is started here.

    Raises:
        ParleyError: Triton is wanted, no address is set, and this site runs no server.
    """
    if settings.engine == "onnx":
        return OnnxEngine(settings.repo_dir, Trust.of(settings))
    if settings.triton_grpc:
        key = settings.read_secrets().triton_control_key
        return TritonEngine(settings.triton_grpc, control_key=key, channels=channels, repo=settings.repo_dir)
    record = read_record(settings.state_dir)
    if record is None:
        raise ParleyError(
            "no Triton server runs for this site",
            where=str(settings.state_dir),
            mend="`parley serve` starts one; or set PARLEY_TRITON_GRPC, or PARLEY_ENGINE=onnx",
        )
    return TritonEngine(record.grpc, channels=channels, repo=settings.repo_dir)
