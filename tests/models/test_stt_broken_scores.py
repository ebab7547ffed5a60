"""A model that answers with numbers that are none is refused at once: asking again would give the same."""

from pathlib import Path

import numpy as np
import pytest

from models.stt.client import PhoneCtcClient
from parley.serving.engine import EngineRejected

ROOT = Path(__file__).parents[2]


class NanEngine:
    """Answers every chunk with NaN."""

    async def infer(self, model: str, version: int, inputs: dict, *, timeout_s: float = 2.0) -> dict:
        return {"log_probs": np.full((1, 8, 40), np.nan, np.float32), "new_state": inputs["state"]}


@pytest.mark.anyio
async def test_scores_that_are_no_numbers_are_rejected_not_decoded() -> None:
    client = PhoneCtcClient(ROOT / "triton_repo" / "barista_stt" / "1", NanEngine(), "barista_stt", 1)  # type: ignore[arg-type]

    with pytest.raises(EngineRejected, match="numbers that are none") as refused:
        await client.new_stream().accept(np.zeros(client.chunk_samples, np.int16))

    assert refused.value.where == "barista_stt version 1"
