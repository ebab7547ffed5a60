"""The client pool: who reads a version is its implementation, and who waits for it is not the event loop."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_nlu import KEYWORD, SlowReading, keyword_bundle, register

from models.contracts import SttClient
from models.implementations import NLG, NLU, STT, TTS, implementation
from models.nlg.corpus_client import CorpusClient as CorpusNlg
from models.nlu.corpus_client import CorpusClient as CorpusNlu
from models.pool import ClientPool
from parley.bundle import FAMILIES, Manifest, read_manifest, write_bundle
from parley.errors import ParleyError
from parley.implementation import CORPUS_NLG, CORPUS_NLU, FIRST
from parley.serving.engine import Engine
from registry.releasing.documents import StageVersion

pytestmark = pytest.mark.anyio
STARTERS = Path(__file__).parents[2] / "triton_repo"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Echo:
    """Gives back what it is given, under the name of the toy's output."""

    async def infer(
        self, model: str, version: int, inputs: dict[str, np.ndarray], **_: object
    ) -> dict[str, np.ndarray]:
        return {"scores": inputs["counts"]}

    async def ready(self, model: str, version: int) -> bool:
        return True

    async def close(self) -> None: ...


def nlu(number: int) -> StageVersion:
    return StageVersion(model="barista_nlu", version=number)


def pool_of(tmp_path: Path, versions: int = 1, **options: int) -> ClientPool:
    for number in range(1, versions + 1):
        keyword_bundle(tmp_path / "barista_nlu" / str(number))
    engine: Engine = Echo()  # type: ignore[assignment]
    return ClientPool(tmp_path, engine, **options)


async def test_the_loop_goes_on_while_a_version_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowReading()
    register(monkeypatch, slow)
    pool = pool_of(tmp_path)

    asked = [asyncio.create_task(pool.nlu(nlu(1))) for _ in range(2)]
    await asyncio.to_thread(slow.begun.wait, 20)
    slow.go.set()  # only a loop that runs comes here
    first, second = await asyncio.gather(*asked)

    assert first is second and slow.times == 1
    assert (await first.parse("a latte")).intent == "orderDrink"


async def test_a_version_that_was_let_go_is_read_again_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch)
    pool = pool_of(tmp_path, 3, kept=2)
    first = [await pool.nlu(nlu(number)) for number in (1, 2)]
    assert await pool.nlu(nlu(1)) is first[0], "used last, so it stays"
    await pool.nlu(nlu(3))
    slow = SlowReading()
    register(monkeypatch, slow)

    assert await pool.nlu(nlu(1)) is first[0]
    again = asyncio.create_task(pool.nlu(nlu(2)))
    await asyncio.to_thread(slow.begun.wait, 20)
    slow.go.set()

    assert await again is not first[1]


async def test_a_version_of_an_unknown_implementation_is_refused_with_what_to_do(tmp_path: Path) -> None:
    pool = pool_of(tmp_path)

    with pytest.raises(ParleyError, match=KEYWORD) as refused:
        await pool.nlu(nlu(1))

    assert "barista_nlu" in refused.value.where and "upgrade Parley" in refused.value.mend
    assert "joint-bio/1" in refused.value.what


async def test_a_version_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="not published") as refused:
        await pool_of(tmp_path).nlu(nlu(7))

    assert refused.value.where == "barista_nlu version 7"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_starter_versions_name_no_implementation_and_are_read_by_their_familys_first(family: str) -> None:
    manifest = read_manifest(STARTERS / f"barista_{family}" / "1")
    known = {"stt": STT, "nlu": NLU, "nlg": NLG, "tts": TTS}[family]

    assert manifest.implementation == ""
    assert manifest.served_as == manifest.model
    assert manifest.read_by == next(iter(known))
    assert implementation(known, manifest) is next(iter(known.values()))  # type: ignore[arg-type]


def test_the_names_that_old_manifests_stand_for_are_the_clients_own() -> None:
    assert {"stt": next(iter(STT)), "nlu": next(iter(NLU)), "nlg": next(iter(NLG)), "tts": next(iter(TTS))} == FIRST
    assert (list(NLU)[1], list(NLG)[1]) == (CORPUS_NLU, CORPUS_NLG)


def test_an_old_bundle_of_a_corpus_is_told_by_its_files() -> None:
    nlu = Manifest(family="nlu", bot="snips", model="snips_nlu", inputs=[], outputs=[], files={"chain.json": ""})
    nlg = Manifest(family="nlg", bot="e2e", model="e2e_nlg", inputs=[], outputs=[], files={"slots.json": ""})

    assert implementation(NLU, nlu) is CorpusNlu and implementation(NLG, nlg) is CorpusNlg


async def test_sample_rates_are_the_versions_own(tmp_path: Path) -> None:
    shutil.copytree(STARTERS / "barista_stt" / "1", tmp_path / "barista_stt" / "1")
    bundle = tmp_path / "barista_stt" / "1"
    manifest = read_manifest(bundle)
    pool = ClientPool(tmp_path, Echo())  # type: ignore[arg-type]
    old: SttClient = await pool.stt(StageVersion(model="barista_stt", version=1))
    shutil.copytree(bundle, tmp_path / "barista_stt" / "2")
    (tmp_path / "barista_stt" / "2" / "manifest.json").chmod(0o644)
    write_bundle(tmp_path / "barista_stt" / "2", manifest.model_copy(update={"sample_rate": 16000}))

    new = await pool.stt(StageVersion(model="barista_stt", version=2))

    assert (old.sample_rate, new.sample_rate) == (8000, 16000)
    assert manifest.sample_rate is None and manifest.audio_rate == 8000


@pytest.mark.parametrize("name", ["../../x/1", "a b/1", "Keyword/1", "keyword", "keyword/0"])
def test_an_implementation_has_a_name_that_may_be_a_folders(name: str, tmp_path: Path) -> None:
    bundle = keyword_bundle(tmp_path / "bundle")
    text = (bundle / "manifest.json").read_text().replace(KEYWORD, name)
    (bundle / "manifest.json").write_text(text)

    with pytest.raises(ParleyError, match="manifest is damaged"):
        read_manifest(bundle)
