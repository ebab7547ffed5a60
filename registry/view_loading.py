"""Having a server serve what the view holds, so that what it refuses holds up nothing else.

A server that refuses one of several new versions ends the others at once, and Triton 2.51 can crash when it ends one
that just became ready: `TritonBackendThread::StopBackendThread` takes an instance from a list into which the version's
own thread has not put it back yet. So a server is asked for one new version at a time, and never to read again a
version that was changed while it serves.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from parley.errors import ParleyError
from parley.serving.engine import EngineRejected, EngineTimeout, EngineUnavailable
from parley.serving.triton_control import Control, refused_versions
from parley.serving.trust import Trust
from registry.view import Ref, ViewFolder


class ViewLoader:
    """Loads of one view. The caller holds its lock.

    Args:
        folder: that the server is started on.
        repo: the model repository that the view's links lead to.
        trust: what a version is verified by.
    """

    def __init__(self, folder: ViewFolder, repo: Path, trust: Trust) -> None:
        self._folder, self._repo, self._trust = folder, repo, trust

    def load(self, control: Control, model: str, fresh: set[int], until: float) -> dict[Ref, EngineRejected]:
        """Have the server serve what the view holds of a model.

        Args:
            fresh: versions of the view that the server does not serve yet. Those that it refuses are taken out again.
            until: by `time.monotonic()`, so long a server that is not there is waited for.

        Returns:
            Which it refused, and why.

        Raises:
            EngineError: the server does not answer in time, or a version that it serves already was changed.
        """
        self._check_served(model, self._folder.linked().get(model, set()) - fresh)
        for number in fresh:
            self._folder.unlink(model, number)
        refused: dict[Ref, EngineRejected] = {}
        for number in sorted(fresh):
            self._folder.link(model, number)
            self._folder.configure(model)
            if (reason := self._load_new(control, model, number, until)) is not None:
                refused[model, number] = reason
        if not fresh or refused:
            self._load_known(control, model, until)
        return refused

    def _check_served(self, model: str, numbers: Iterable[int]) -> None:
        for number in sorted(numbers):
            try:
                self._trust.verify(self._repo / model / str(number), model, number, pinned=True)
            except (ParleyError, OSError) as error:
                mend = "restore it: the server goes on with what it read before"
                raise EngineRejected(str(error), where=f"{model} version {number}", mend=mend) from None

    def _load_new(self, control: Control, model: str, number: int, until: float) -> EngineRejected | None:
        """Load the one version that is new in the view; one that is refused is taken out, and the reason returned."""
        try:
            _ask(control, model, until)
            return None
        except EngineRejected as error:
            reasons = refused_versions(error.what)
            if reasons and number not in reasons:
                raise
            self._folder.unlink(model, number)
            self._folder.configure(model)
            reason = reasons.get(number, error.what)
            return EngineRejected(reason, where=f"{model} version {number}", mend="the others go on serving")

    def _load_known(self, control: Control, model: str, until: float) -> None:
        """Have the server take the view as it is, without anything new: what went from it ends."""
        if self._folder.linked().get(model):
            _ask(control, model, until)


def _ask(control: Control, model: str, until: float) -> None:
    while True:
        try:
            control.load(model, timeout_s=max(1.0, until - time.monotonic()))
            return
        except (EngineUnavailable, EngineTimeout):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)  # a server that restarts loads the view by itself
