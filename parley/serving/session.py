"""Opening a verified version with ONNX Runtime in this process; Triton's backend does the same in C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort

from parley.signatures import read_verified


def open_session(directory: Path, manifest: dict[str, Any]) -> Any:
    """An `onnxruntime.InferenceSession` with a single thread; its `run` may be called from several threads at once.

    The graph is read once, compared with the manifest and handed over as bytes, so that what is opened is what was
    checked.

    Args:
        directory: the version or bundle.
        manifest: its verified manifest.

    Raises:
        ParleyError: the graph changed since it was verified.
        Exception: ONNX Runtime cannot read it; its errors share no narrower class.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # A graph that comes as bytes knows no folder of its own to look for weights beside it.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(directory))
    content = read_verified(directory, "model.onnx", manifest)
    return ort.InferenceSession(content, sess_options=options, providers=["CPUExecutionProvider"])
