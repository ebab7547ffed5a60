"""Every test: one thread a library, no tracker, a state folder of its own, seeds printed by hypothesis."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from postgresql import PostgreSQL, running_postgresql

from orchestrator.logs import ROOMS

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "disabled"

# Two shared cores: a slow example is the machine's fault, not the code's.
settings.register_profile("parley", deadline=None, print_blob=True)
settings.load_profile("parley")

ROOT = Path(__file__).parent.parent
RECORDINGS = Path(
    os.environ.get("PARLEY_TEST_RECORDINGS", ROOT.parent / "shared" / "data" / "barista" / "manifest.jsonl")
)
"""Manifest of real recordings, where this machine has them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: where files run side by side, none of them is what all others wait for."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def recordings() -> Path:
    """The manifest of real recordings; skips without it."""
    if not RECORDINGS.is_file():
        pytest.skip("no real recordings: set PARLEY_TEST_RECORDINGS to a manifest")
    return RECORDINGS


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing a test writes lands in the checkout; tests run from the checkout's root."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PARLEY_STATE_DIR", str(tmp_path / "var"))


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    """Where a test sends the rooms' logs is nothing to the next one."""
    before = {}
    for room in ROOMS:
        logger = logging.getLogger(room)
        before[room] = (logger.handlers[:], logger.propagate, logger.level)
    yield
    for room, (handlers, propagate, level) in before.items():
        logger = logging.getLogger(room)
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A real PostgreSQL server; fails where it is not installed."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database: the test runs once on SQLite, once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state' / 'parley.db'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.create()
