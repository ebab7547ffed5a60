"""How a replica keeps up with the product owner: `parley.following` over the experiments.

with SnapshotFollower(store) as follower:
    follower.snapshot          # an attribute read; never blocks, never fails
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from experiments.assignment import Snapshot
from parley.following import POLL_S, Follower


class SnapshotSource(Protocol):
    """What is followed; ``ExperimentStore`` is one."""

    def config_version(self) -> int:
        """The version of the newest change, 0 before the first."""
        ...

    def snapshot(self) -> Snapshot:
        """All experiments in one consistent state."""
        ...


class SnapshotFollower(Follower[Snapshot]):
    """Holds the newest snapshot of the experiments it could get."""

    def __init__(
        self,
        source: SnapshotSource,
        interval_s: float = POLL_S,
        on_change: Callable[[Snapshot], None] | None = None,
    ) -> None:
        super().__init__(source.config_version, source.snapshot, Snapshot(), "experiments", interval_s, on_change)

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot; before the first one could be read, an empty one."""
        return self.value
