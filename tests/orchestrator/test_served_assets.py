"""What a replica reads of a version itself, tokenizer, labels and lexicon, is checked as what the engines run."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from serving_models import damage

from models.pool import ClientPool
from parley.errors import ParleyError
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from parley.settings import Settings
from registry.releasing.documents import StageVersion
from registry.writing import open_for_writing

ROOT = Path(__file__).parents[2]
NLU = StageVersion(model="barista_nlu", version=1)


class Racing(Trust):
    """Somebody swaps a file right after it was verified."""

    swapped: Path

    def verify(self, directory: Path, model: str, number: int, *, pinned: bool) -> dict[str, Any]:
        manifest = super().verify(directory, model, number, pinned=pinned)
        damage(self.swapped)
        return manifest


@pytest.mark.parametrize("file", ["tokenizer.json", "labels.json"])
def test_what_is_read_is_what_was_verified(tmp_path: Path, file: str) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(ROOT / "triton_repo" / "barista_nlu", repo / "barista_nlu")
    site = Settings(repo_dir=repo, state_dir=tmp_path / "var", bots_dir=tmp_path / "bots")
    with open_for_writing(site):
        trust = Trust.of(site)
    racing = Racing(trust.keys, trust.pins)
    object.__setattr__(racing, "swapped", repo / "barista_nlu" / "1" / file)
    pool = ClientPool(repo, OnnxEngine(repo, trust), racing)

    with pytest.raises(ParleyError, match="changed after it was verified"):
        asyncio.run(pool.nlu(NLU))


@pytest.mark.parametrize("file", ["tokenizer.json", "labels.json"])
def test_a_client_of_a_version_with_a_swapped_asset_is_refused_by_file(tmp_path: Path, file: str) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(ROOT / "triton_repo" / "barista_nlu", repo / "barista_nlu")
    site = Settings(repo_dir=repo, state_dir=tmp_path / "var", bots_dir=tmp_path / "bots")
    with open_for_writing(site):
        trust = Trust.of(site)
    pool = ClientPool(repo, OnnxEngine(repo, trust), trust)
    swapped = repo / "barista_nlu" / "1" / file
    content = damage(swapped)

    with pytest.raises(ParleyError, match="file is altered") as caught:
        asyncio.run(pool.nlu(NLU))
    swapped.write_bytes(content)

    assert caught.value.where == str(swapped)
    assert asyncio.run(pool.nlu(NLU)) is not None
