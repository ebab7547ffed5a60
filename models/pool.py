"""The clients of the versions that a process answers with.

    pool = ClientPool(site.repo_dir, engine, Trust.of(site))
    understanding = await (await pool.nlu(ref)).parse("a large latte please")

A version's assets are read, checked and compiled once, in a thread of the pool's own: whoever asks for a client on an
event loop waits for it, and the loop does not.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Generic

from models.contracts import Client, ClientT, Implementations, NlgClient, NluClient, SttClient, TtsClient
from models.implementations import NLG, NLU, STT, TTS, implementation
from parley.bundle import Family, VersionRef, read_manifest
from parley.errors import ParleyError
from parley.serving.engine import Engine
from parley.serving.trust import Trust
from parley.signatures import copy_verified


class ClientPool:
    """The clients of all versions that this process uses; calls share them, for they hold no call's state.

    Args:
        repo: the model repository.
        engine: runs the graphs.
        trust: what a version is checked against before its tokenizer, labels and lexicon are read here; the engine
            checks it for itself. None checks nothing.
        kept: of each family so many clients stay, those used last: a process may see any number of releases, and each
            client holds a lexicon.
    """

    def __init__(self, repo: Path, engine: Engine, trust: Trust | None = None, *, kept: int = 64) -> None:
        self.engine = engine
        # One thread for all: what one release reads must not take the processor from those that talk.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="client-pool")
        source = _Source(repo, engine, trust)
        self._stt = _Kept(STT, source, self._reader, kept)
        self._nlu = _Kept(NLU, source, self._reader, kept)
        self._nlg = _Kept(NLG, source, self._reader, kept)
        self._tts = _Kept(TTS, source, self._reader, kept)
        self._families: dict[Family, _Kept[Client]] = {
            "stt": self._stt, "nlu": self._nlu, "nlg": self._nlg, "tts": self._tts,
        }  # fmt: skip

    async def stt(self, ref: VersionRef) -> SttClient:
        """See `Clients`."""
        return await self._stt.get(ref)

    async def nlu(self, ref: VersionRef) -> NluClient:
        """See `Clients`."""
        return await self._nlu.get(ref)

    async def nlg(self, ref: VersionRef) -> NlgClient:
        """See `Clients`."""
        return await self._nlg.get(ref)

    async def tts(self, ref: VersionRef) -> TtsClient:
        """See `Clients`."""
        return await self._tts.get(ref)

    def read(self, family: Family, ref: VersionRef) -> None:
        """See `Clients`."""
        self._families[family].read(ref)


class _Source:
    """Where clients are made from."""

    def __init__(self, repo: Path, engine: Engine, trust: Trust | None) -> None:
        self._repo, self._engine, self._trust = repo, engine, trust

    def make(self, known: Implementations[ClientT], model: str, version: int) -> ClientT:
        """Read a version."""
        bundle = self._repo / model / str(version)
        if not bundle.is_dir():
            raise ParleyError(
                "the version is not published",
                where=f"{model} version {version}",
                mend=f"publish it into {self._repo.name}/",
            )
        with self._verified(bundle, model, version) as assets:
            return implementation(known, read_manifest(assets))(assets, self._engine, model, version)

    @contextmanager
    def _verified(self, bundle: Path, model: str, version: int) -> Iterator[Path]:
        """What a client reads: the version's assets as they were verified, whoever changes its folder meanwhile."""
        if self._trust is None:
            yield bundle
            return
        manifest = self._trust.verify(bundle, model, version, pinned=False)
        with tempfile.TemporaryDirectory(prefix="parley-") as folder:
            copy_verified(bundle.resolve(), manifest, Path(folder))
            yield Path(folder)


class _Kept(Generic[ClientT]):
    """One family's clients, the ones used last. Any thread may ask."""

    def __init__(self, known: Implementations[ClientT], source: _Source, reader: ThreadPoolExecutor, most: int) -> None:
        self._known, self._source, self._reader, self._most = known, source, reader, most
        self._clients: OrderedDict[tuple[str, int], ClientT] = OrderedDict()
        self._lock = threading.Lock()

    async def get(self, ref: VersionRef) -> ClientT:
        key = (ref.model, ref.version)
        found = self._find(key)
        return found if found is not None else await asyncio.wrap_future(self._reader.submit(self._make, key))

    def read(self, ref: VersionRef) -> None:
        key = (ref.model, ref.version)
        if self._find(key) is None:
            self._reader.submit(self._make, key).result()

    def _find(self, key: tuple[str, int]) -> ClientT | None:
        with self._lock:
            if key in self._clients:
                self._clients.move_to_end(key)
            return self._clients.get(key)

    def _make(self, key: tuple[str, int]) -> ClientT:
        """In the reader's thread: whoever asked first has it made, the others find it."""
        found = self._find(key)
        if found is not None:
            return found
        made = self._source.make(self._known, *key)
        with self._lock:
            self._clients[key] = made
            # A call that uses one of those that go meanwhile has it read again.
            while len(self._clients) > self._most:
                self._clients.popitem(last=False)
        return made
