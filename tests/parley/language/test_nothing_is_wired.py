"""No alphabet and no English word is written into what serves every language: they come from the language."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from parley.bot.template import NAME

ROOT = Path(__file__).parents[3]
ROOMS = ("parley", "models", "registry", "calls", "experiments", "orchestrator", "calling", "judging", "cli")
ENGLISH = ROOT / "parley/language/english"
_ALPHABET = re.compile(r"a-z|A-Z|abcdefgh|à-ÿ|а-я")
_SMALL_WORDS = frozenset(
    [
        "a", "an", "the", "you", "he", "she", "it", "we", "they", "me", "my", "your", "of", "to", "in", "on", "for",
        "with", "and", "or", "but", "not", "no", "yes", "please", "thanks", "um", "uh", "is", "are", "was", "be",
        "do", "does", "did", "have", "has", "will", "would", "can", "could", "when", "where", "this", "that", "oh",
        "well", "okay", "hello",
    ]
)  # fmt: skip
ALPHABET_OF = {
    "parley/bot/spec.py": "acts and language tags",
    "parley/implementation.py": "names of implementations",
    "parley/names.py": "names of bots and models",
    "parley/settings.py": "ISO 3166 regions",
    "parley/utterances.py": "digests and splits",
    "models/nlg/corpora.py": "slots of the E2E corpus, which is English",
    "models/nlg/delexicalise.py": "placeholders of the E2E corpus",
    "registry/housekeeping/canonical_tar.py": "letters of drives",
    "registry/releasing/seeding.py": "names of folders",
    "calls/callers.py": "letters on a telephone's keys",
    "experiments/assignment.py": "names of experiments",
}
"""Modules whose patterns have an alphabet, and of what."""
ASCII_OF = {
    "parley/bot/slots.py": "figures of a value",
    "parley/bot/load.py": "names in the file",
    "parley/language/digits.py": "figures",
    "orchestrator/wires/json_messages.py": "only text that is not ASCII can hold a lone surrogate",
    "experiments/hashing.py": "ASCII is composed already",
    "experiments/door.py": "figures of a Content-Length",
}
"""Modules that ask whether something is ASCII, and of what."""
WORDS_OF = {
    "parley/yaml_text.py": "YAML's truth values",
}
"""Modules with sets of words that are English, and whose."""


def modules() -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted(path for path in (ROOT / room).rglob("*.py") if ENGLISH not in path.parents)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


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


def alphabets(module: ast.Module) -> list[str]:
    return [text for text in texts(module) if _ALPHABET.search(text.replace(NAME, ""))]


def asks_for_ascii(module: ast.Module) -> list[str]:
    return [node.attr for node in ast.walk(module) if isinstance(node, ast.Attribute) and node.attr == "isascii"]


def english_words(module: ast.Module) -> list[list[str]]:
    """Literals of several words, two of which or more are small words of English: ``("a", "an")``."""
    found = []
    for node in ast.walk(module):
        items: list[ast.expr] = []
        if isinstance(node, ast.Set | ast.Tuple | ast.List):
            items = node.elts
        elif isinstance(node, ast.Dict):
            items = [key for key in node.keys if key is not None]
        words = [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
        if len(_SMALL_WORDS & {word.lower() for word in words}) > 1:
            found.append(words)
    return found


@pytest.mark.parametrize(
    ("look", "exceptions"),
    [(alphabets, ALPHABET_OF), (asks_for_ascii, ASCII_OF), (english_words, WORDS_OF)],
    ids=["alphabets", "ASCII", "English words"],
)
def test_nothing_is_wired(look, exceptions: dict[str, str]) -> None:
    wired = {_name(path): found for path in modules() if (found := look(ast.parse(path.read_text("utf-8"))))}

    assert {name: found for name, found in wired.items() if name not in exceptions} == {}
    assert set(exceptions) <= set(wired), "an exception that is none any more"


@pytest.mark.parametrize(
    ("code", "look"),
    [
        ('re.compile("[a-z]+")', alphabets),
        ("string.ascii_lowercase", alphabets),
        ("all(c.isascii() for c in text)", asks_for_ascii),
        ('word in ("a", "an")', english_words),
        ('{"yes": 1, "no": 2}', english_words),
    ],
)
def test_what_is_wired_is_found(code: str, look) -> None:
    assert look(ast.parse(code))
