"""Rules of the house that no linter knows: what tests may not patch, how long a module is, how a docstring begins."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = (
    "parley",
    "models",
    "registry",
    "calls",
    "experiments",
    "orchestrator",
    "calling",
    "judging",
    "benchmarks",
    "cli",
)
MOST_LINES = 400
_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]+")
_SECTION = re.compile(r"(Args|Returns|Raises|Yields|Attributes|Example|Examples|Note):")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def patched_constants(tree: ast.Module) -> Iterator[str]:
    """Names of constants that a module sets on something: ``setattr(x, "NAME", …)``, ``"a.b.NAME"``, ``x.NAME = …``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("setattr", "patch", "object", "setitem", "delattr"):
                for argument in node.args[:2]:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        last = argument.value.rpartition(".")[2]
                        if _CONSTANT.fullmatch(last) and called != "setitem":
                            yield last
        elif isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (t.attr for t in targets if isinstance(t, ast.Attribute) and _CONSTANT.fullmatch(t.attr))


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield getattr(node, "lineno", 1), text


def test_no_test_patches_a_constant() -> None:
    """A threshold is a field of its owner's frozen configuration, which a test passes."""
    found = {(named(path), name) for path in modules("tests") for name in patched_constants(tree_of(path))}
    assert found == set()


@pytest.mark.parametrize(
    "source",
    ['monkeypatch.setattr(m, "LIMIT_S", 1)', 'patch.setattr("a.b._LIMIT", 1)', "m.LIMIT = 1", 'mock.patch("a.LIMIT")'],
)
def test_a_patched_constant_is_seen(source: str) -> None:
    assert len(list(patched_constants(ast.parse(source)))) == 1


def test_no_module_is_longer_than_four_hundred_lines() -> None:
    long = {named(p) for p in modules(*ROOMS, "tests") if len(p.read_text(encoding="utf-8").splitlines()) > MOST_LINES}
    assert long == set()


def test_every_docstring_begins_with_what_the_thing_is() -> None:
    found = [
        f"{named(path)}:{line}"
        for path in modules(*ROOMS, "tests")
        for line, text in docstrings(tree_of(path))
        if not text.strip() or _SECTION.match(text.strip())
    ]
    assert found == []


def test_one_module_starts_threads() -> None:
    """What runs beside calls is a `BackgroundLoop`: it says when it fails, backs off, and is seen in ``/healthz``."""
    starters = {
        named(path)
        for path in modules(*ROOMS)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr in ("Thread", "Timer")
    }
    assert starters == {"parley/background.py"}
