"""What a server is asked to load, and in which order; without a server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_models import damage
from serving_site import MODEL, keep, open_site

from parley.serving.engine import EngineRejected, EngineUnavailable
from parley.serving.triton_control import LOAD_TIMEOUT_S
from registry.served import ServedView
from registry.site import Registry


class Server:
    """`Control` of a server that serves what it finds in the view, and refuses what it is told to."""

    def __init__(self, view: ServedView, *refused: int) -> None:
        self._folder, self._refused = view.folder, refused
        self._serving: set[int] = set()
        self.loads: list[set[int]] = []
        """What was new to it at each load."""

    def live(self, *, timeout_s: float) -> bool:
        return True

    def load(self, model: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        found = self._folder.linked()[model]
        self.loads.append(found - self._serving)
        if bad := found & set(self._refused):
            text = ";".join(f"version {number} is at UNAVAILABLE state: no graph" for number in sorted(bad))
            raise EngineRejected(text + ";", where=model, mend="")
        self._serving = found

    def unload(self, model: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        self._serving = set()

    def ready(self, model: str, version: int, *, timeout_s: float = 2.0) -> bool:
        return version in self._serving

    def serving(self, *, timeout_s: float = 2.0) -> dict[str, set[int]]:
        return {MODEL: set(self._serving)} if self._serving else {}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Four versions, all of them wanted."""
    with open_site(tmp_path, versions=4) as opened:
        yield opened


@pytest.fixture
def view(registry: Registry) -> ServedView:
    return ServedView(registry)


def test_a_server_is_asked_for_one_new_version_at_a_time(view: ServedView) -> None:
    # Triton 2.51 can crash when it ends a version right after it became ready, as it does when it refuses another one
    # of the same load.
    server = Server(view)

    view.ensure([(MODEL, 1), (MODEL, 2)], server)
    changes = view.reconcile(server)

    assert server.loads == [{1}, {2}, {3}, {4}]
    assert changes.problems == {} and server.serving() == {MODEL: {1, 2, 3, 4}}


def test_what_a_server_refuses_holds_up_nothing_else(view: ServedView) -> None:
    server = Server(view, 2)

    changes = view.reconcile(server)

    assert server.serving() == view.folder.linked() == {MODEL: {1, 3, 4}}
    assert list(changes.problems) == [(MODEL, 2)]
    assert all(len(new) <= 1 for new in server.loads)


def test_what_a_server_refuses_first_of_all_leaves_nothing_behind(registry: Registry, view: ServedView) -> None:
    keep(registry)
    server = Server(view, 1)

    with pytest.raises(EngineRejected, match="no graph"):
        view.ensure([(MODEL, 1)], server)

    assert view.folder.linked() == {} and server.loads == [{1}]


def test_a_server_never_reads_again_what_was_changed_under_it(registry: Registry, view: ServedView) -> None:
    server = Server(view)
    view.ensure([(MODEL, 1), (MODEL, 2)], server)
    asked = list(server.loads)
    content = damage(registry.repo / MODEL / "2" / "model.onnx")

    with pytest.raises(EngineRejected, match=r"model\.onnx") as caught:
        view.ensure([(MODEL, 3)], server)
    refused = list(server.loads)
    (registry.repo / MODEL / "2" / "model.onnx").write_bytes(content)
    view.ensure([(MODEL, 3)], server)

    assert caught.value.where == f"{MODEL} version 2"
    assert refused == asked and server.loads == [*asked, {3}]


def test_a_server_that_does_not_answer_is_waited_for(view: ServedView, monkeypatch: pytest.MonkeyPatch) -> None:
    server, load, tries = Server(view), Server.load, []

    def away_at_first(self: Server, model: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise EngineUnavailable("does not answer", where=model, mend="")
        load(self, model, timeout_s=timeout_s)

    monkeypatch.setattr(Server, "load", away_at_first)
    view.ensure([(MODEL, 1)], server)

    assert len(tries) == 3 and server.serving() == {MODEL: {1}}
