"""A partial result costs something when it is asked for, and changes nothing in what is heard in the end."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from models.contracts import SttClient, Transcript
from models.pool import ClientPool
from models.stt.decoder import GrammarDecoder
from parley.audio import Pcm
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from registry.releasing.documents import StageVersion

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
STT, TTS = (StageVersion(model=f"barista_{family}", version=1) for family in ("stt", "tts"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[ClientPool]:
    for family in ("stt", "tts"):
        version = Path(f"barista_{family}") / "1"
        shutil.copytree(ROOT / "triton_repo" / version, tmp_path / version)
    trust = Trust.of_state(tmp_path / "var", ROOT / "keys")
    async with OnnxEngine(tmp_path, trust) as engine:
        yield ClientPool(tmp_path, engine, trust)


async def said(pool: ClientPool, text: str) -> Pcm:
    pieces = [piece.pcm async for piece in (await pool.tts(TTS)).synthesise(text)]
    return np.concatenate(pieces)


async def heard(client: SttClient, pcm: Pcm, every: int, *, partials: bool) -> tuple[Transcript, list[str]]:
    stream, seen = client.new_stream(), []
    for at in range(0, len(pcm), every):
        await stream.accept(pcm[at : at + every])
        if partials:
            seen.append(stream.partial())
    return await stream.finish(), seen


async def test_partials_are_traced_when_they_are_asked_for_and_what_is_heard_is_the_same(
    pool: ClientPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, pcm = await pool.stt(STT), await said(pool, "I would like a large latte please")
    traced: list[int] = []
    trace = GrammarDecoder._trace

    def counted(decoder: GrammarDecoder, state: int) -> object:
        traced.append(decoder.frames)
        return trace(decoder, state)

    monkeypatch.setattr(GrammarDecoder, "_trace", counted)
    quiet, _ = await heard(client, pcm, 160, partials=False)
    assert len(traced) == 1, "only for the transcript"
    asked, seen = await heard(client, pcm, 1280, partials=True)

    assert quiet == asked, "bit for bit, margin and times too"
    assert "large latte" in quiet.text
    assert len(traced) > 5 and "large" in seen[-1]
