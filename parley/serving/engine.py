"""The one interface behind which models run, and the three ways it fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from parley.errors import ParleyError

if TYPE_CHECKING:
    from numpy.typing import NDArray  # the registry's commands need the errors here, not a second of imports

DEFAULT_TIMEOUT_S = 2.0


class EngineError(ParleyError):
    """A model could not answer; the subclass says whether asking again can help."""


class EngineUnavailable(EngineError):
    """Nobody is there to answer: server down, restarting, or the version not loaded yet. Asking again later can
    help."""


class EngineTimeout(EngineError):
    """No answer within the time the caller gave. The request carries its own state, so sending it again is safe."""


class EngineRejected(EngineError):
    """The request or the model is at fault (unknown model, wrong tensor, corrupt file). Asking again cannot help."""


class Engine(Protocol):
    """Runs published versions. All arrays carry the batch as their first dimension."""

    async def infer(
        self,
        model: str,
        version: int,
        inputs: Mapping[str, NDArray[Any]],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> dict[str, NDArray[Any]]:
        """Run one version on `inputs` and return all its outputs by name.

        Raises:
            EngineUnavailable: server or version is not there (now).
            EngineTimeout: no answer within `timeout_s`.
            EngineRejected: the request or the model is at fault.
        """
        ...

    async def ready(self, model: str, version: int) -> bool:
        """Whether this version answers requests now. Never raises for a server that is down."""
        ...

    async def close(self) -> None:
        """Release sessions or connections. Safe to call twice."""
        ...
