"""No alphabet is written into what serves every language: letters come from the language, names alone are ASCII."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GENERIC = (
    "parley/bot/*.py", "orchestrator/*.py", "judging/*.py", "models/*.py", "models/stt/*.py", "models/tts/client.py",
    "models/tts/text.py", "models/tts/script.py", "models/nlu/client.py", "models/nlu/data.py", "models/nlg/client.py",
    "models/nlg/data.py",
)  # fmt: skip
NAMES_ONLY = {"spec.py"}
"""Patterns of names, acts and tags."""
_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_ALPHABET = re.compile(r"a-z|A-Z|abcdefgh|à-ÿ|а-я")


def modules() -> Iterator[Path]:
    for pattern in GENERIC:
        yield from (path for path in ROOT.glob(pattern) if path.name not in NAMES_ONLY)


def texts(module: ast.Module) -> Iterator[str]:
    """Strings of the code, without docstrings."""
    documentation = {
        id(node.value)
        for node in ast.walk(module)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value
        elif isinstance(node, ast.Attribute) and node.attr.startswith("ascii_"):
            yield "a-z"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_alphabet_is_wired(path: Path) -> None:
    wired = [
        text for text in texts(ast.parse(path.read_text("utf-8"))) if _ALPHABET.search(text.replace(_IDENTIFIER, ""))
    ]

    assert not wired
