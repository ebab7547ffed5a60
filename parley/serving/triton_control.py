"""The few blocking questions the server's own start needs; everything else goes through `TritonEngine`."""

from __future__ import annotations

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from parley.serving.triton_engine import CONTROL_HEADER, GRPC_PREFIX


def server_live(address: str, *, timeout_s: float) -> bool:
    """Whether a Triton server answers at `address`."""
    with triton.InferenceServerClient(address) as client:
        try:
            return bool(client.is_server_live(client_timeout=timeout_s))
        except InferenceServerException:
            return False


def load_model(address: str, model: str, control_key: str, timeout_s: float) -> str | None:
    """Load a model; None when it answers afterwards, else the reason in one line."""
    with triton.InferenceServerClient(address) as client:
        try:
            client.load_model(model, headers={GRPC_PREFIX + CONTROL_HEADER: control_key}, client_timeout=timeout_s)
        except InferenceServerException as error:
            if str(error.status()).endswith("DEADLINE_EXCEEDED"):
                return f"not loaded after {timeout_s:g} s"
            return " ".join(str(error.message()).split())
    return None
