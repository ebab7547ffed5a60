"""When the supervisor of the Triton server restarts it; the server itself is in test_serving_triton.py."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from parley.errors import ParleyError
from parley.serving.triton_server import TritonServer


class Gone(TritonServer):
    """A server that died, and dies again."""

    restarted = 0

    def ensure_alive(self) -> bool:
        self.restarted += 1
        return True


def test_a_server_that_dies_five_times_a_minute_rests_and_is_restarted_after_it(tmp_path: Path) -> None:
    server = Gone(tmp_path, tmp_path)
    for _ in range(5):
        server._watch()
    for _ in range(3):
        with pytest.raises(ParleyError, match="5 times within 60 s"):
            server._watch()
    assert server.restarted == 5

    server._restarts[0] = time.monotonic() - 60.0
    server._watch()
    assert server.restarted == 6
