"""Two engines as one: the server answers, and while it cannot, ONNX Runtime in this process does, on the same versions.

    engine = StandIn(lambda: open_engine(settings), OnnxEngine(repo, trust))

A server that is gone, is restarting, or has not loaded a version is asked no more for that version until it says that
it is ready; nothing that a call waits for finds that out. One that stops answering altogether (it hangs, its machine
was paused) is noticed when a request waits longer than any does, and nothing else was answered meanwhile: then both
are asked, and the first answer counts. A request carries its own state, so asking twice is safe.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from numpy.typing import NDArray

from parley.errors import ParleyError
from parley.serving.engine import DEFAULT_TIMEOUT_S, Engine, EngineError, EngineUnavailable

PATIENCE_S = 0.5
"""A request that waits longer, while the server answers nobody, is asked of the stand-in as well."""
LOOK_AGAIN_S = 0.25
_log = logging.getLogger(__name__)

Outputs = dict[str, NDArray[Any]]
_Key = tuple[str, int]


class StandIn:
    """See `parley.serving.engine.Engine`. Belongs to the event loop on which it is first used.

    Args:
        find: the server's engine as it can be reached now; raises `ParleyError` while there is none.
        spare: answers meanwhile.
        patience_s: see the module's text.
        look_again_s: between two looks whether the server is back.
        clock: seconds of a clock that nobody sets.
    """

    def __init__(
        self,
        find: Callable[[], Engine],
        spare: Engine,
        *,
        patience_s: float = PATIENCE_S,
        look_again_s: float = LOOK_AGAIN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._spare = spare
        self._patience_s = patience_s
        self._look_again_s = look_again_s
        self._clock = clock
        self._server: Engine | None = None
        self._answered = -math.inf
        """When the server answered last."""
        self._silent = False
        """Whether a request found that it answers nobody: the next ones do not wait to find that out again."""
        self._away: dict[_Key, asyncio.Task[None]] = {}
        """Versions that are not asked of the server now, and who watches for its return."""
        self.stood_in = 0
        """Requests that this process answered in the server's place."""

    @property
    def away(self) -> list[str]:
        """Versions that this process answers now, in words."""
        return sorted(f"{model} {version}" for model, version in self._away)

    async def infer(
        self,
        model: str,
        version: int,
        inputs: Mapping[str, NDArray[Any]],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Outputs:
        """See `Engine.infer`. What the server refuses is refused: the stand-in would refuse it too."""
        key = (model, version)
        if key in self._away:
            return await self._stand_in(key, inputs, timeout_s)
        asked = asyncio.ensure_future(self._ask(key, inputs, timeout_s))
        patience_s = 0.0 if self._silent else min(self._patience_s, timeout_s)
        try:
            await asyncio.wait({asked}, timeout=patience_s)
            if not asked.done() and (self._silent or self._clock() - self._answered >= self._patience_s):
                return await self._race(key, asked, inputs, timeout_s - patience_s)
            return await asked
        except EngineUnavailable as error:
            self._send_away(key, error.what)
            return await self._stand_in(key, inputs, timeout_s)
        finally:
            asked.cancel()

    async def ready(self, model: str, version: int) -> bool:
        """Whether this version is answered now, by either."""
        with suppress(ParleyError):
            if (model, version) not in self._away and await self._reach().ready(model, version):
                return True
        return await self._spare.ready(model, version)

    async def close(self) -> None:
        """See `Engine.close`."""
        watching, self._away = list(self._away.values()), {}
        for task in watching:
            task.cancel()
        if watching:
            await asyncio.wait(watching)
        await self._spare.close()
        if self._server is not None:
            await self._server.close()

    def _reach(self) -> Engine:
        if self._server is None:
            try:
                self._server = self._find()
            except EngineError:
                raise
            except ParleyError as error:
                raise EngineUnavailable(error.what, where=error.where, mend=error.mend) from None
        return self._server

    async def _ask(self, key: _Key, inputs: Mapping[str, NDArray[Any]], timeout_s: float) -> Outputs:
        answer = await self._reach().infer(*key, inputs, timeout_s=timeout_s)
        self._heard()
        return answer

    def _heard(self) -> None:
        self._answered, self._silent = self._clock(), False

    async def _stand_in(self, key: _Key, inputs: Mapping[str, NDArray[Any]], timeout_s: float) -> Outputs:
        answer = await self._spare.infer(*key, inputs, timeout_s=timeout_s)
        self.stood_in += 1
        return answer

    async def _race(
        self, key: _Key, asked: asyncio.Future[Outputs], inputs: Mapping[str, NDArray[Any]], timeout_s: float
    ) -> Outputs:
        """The first answer of both. If it is the stand-in's, the server hangs."""
        other = asyncio.ensure_future(self._stand_in(key, inputs, max(timeout_s, self._patience_s)))
        try:
            await asyncio.wait({asked, other}, return_when=asyncio.FIRST_COMPLETED)
            if not other.done() or other.exception() is not None:  # the server's it is, unless it fails
                with suppress(EngineUnavailable):
                    return await asked
            answer = await other
        finally:
            other.cancel()
        self._silent = True
        self._send_away(key, "it does not answer")
        return answer

    def _send_away(self, key: _Key, reason: str) -> None:
        if key not in self._away:
            _log.warning(
                "this process answers for the server", extra={"version": f"{key[0]} {key[1]}", "reason": reason}
            )
            self._away[key] = asyncio.get_running_loop().create_task(self._watch(key))

    async def _watch(self, key: _Key) -> None:
        """Until the server has the version again. It may be another one by then, at another address."""
        while True:
            await asyncio.sleep(self._look_again_s)
            try:
                if await self._is_back(key):
                    break
            except ParleyError:
                continue
            except Exception:  # a watcher that dies would keep the server away for ever
                _log.exception("looking for the server failed")
        self._heard()
        _log.info("the server answers again", extra={"version": f"{key[0]} {key[1]}"})
        self._away.pop(key, None)

    async def _is_back(self, key: _Key) -> bool:
        """Whether the server has the version, or another one at another address, which is taken then."""
        if self._server is not None and await self._server.ready(*key):
            return True
        fresh = self._find()
        known = self._server is not None and getattr(fresh, "address", "") == getattr(self._server, "address", "")
        if known or not await fresh.ready(*key):
            await fresh.close()
            return False
        old, self._server = self._server, fresh
        if old is not None:
            await old.close()
        return True
