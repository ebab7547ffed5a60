"""Other people's text files: UTF-8, places in errors, nothing that is half a text."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.errors import ParleyError
from parley.text_files import json_lines, json_objects, parse_json, read_lines, read_text, split_lines


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def test_a_latin_1_byte_is_named_by_file_line_and_byte(file: Path) -> None:
    file.write_bytes("first\r\nna\u00efve caf".encode() + b"\xe9 2")

    with pytest.raises(ParleyError, match=r"byte 11 of the line, 0xe9, is not UTF-8") as caught:
        read_text(file)

    assert caught.value.where == f"{file}:2" and caught.value.mend


def test_a_byte_order_mark_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + b'{"a": 1}\r\n')

    assert list(json_lines(file)) == [(f"{file}:1", {"a": 1})]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_only_a_line_feed_ends_a_line(file: Path, separator: str) -> None:
    file.write_bytes(f"one{separator}still one\ntwo\n".encode())

    assert read_lines(file) == [f"one{separator}still one", "two"]


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])).filter(
    lambda line: not line.endswith("\r"))))  # fmt: skip
def test_lines_that_are_written_are_read(lines: list[str]) -> None:
    assert split_lines("".join(f"{line}\n" for line in lines)) == lines


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"a": NaN}', "NaN is no number"),
        ("[-Infinity]", "Infinity is no number"),
        ('{"a": 1e999}', "1e999 is too large"),
        ("[" * 100_000, "nested too deep"),
        ('{"a": "\\ud800"}', "half of a character"),
        ('{"\\uDC00": 1}', "half of a character"),
        ("1" * 5000, "not JSON"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(ParleyError, match=says) as caught:
        parse_json(text, "rows.jsonl:7")
    assert caught.value.where == "rows.jsonl:7"


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert parse_json(json.dumps("\U0001f600"), "x") == "\U0001f600"


def test_a_line_that_is_no_object_is_named(file: Path) -> None:
    file.write_text('{"a": 1}\n\n[1]\n', encoding="utf-8")

    with pytest.raises(ParleyError, match="expected an object") as caught:
        list(json_objects(file))
    assert caught.value.where == f"{file}:3"


def test_a_file_that_is_too_large_is_not_read(file: Path) -> None:
    file.write_bytes(b"x" * 11)

    with pytest.raises(ParleyError, match="larger than 10 bytes"):
        read_text(file, largest=10)


def test_what_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="no such file"):
        read_text(tmp_path / "none")
    with pytest.raises(ParleyError, match="cannot be read"):
        read_text(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ParleyError, match="no ordinary file"):
        read_text(tmp_path / "pipe")


def _without_encoding(source: Path) -> list[str]:
    """Where a module reads or writes text in whatever encoding the locale says."""
    found = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("read_text", "write_text"):
            wrong = isinstance(node.func, ast.Attribute) and "encoding" not in given
        elif name in ("open", "fdopen"):
            wrong = _is_text(node, given) and "encoding" not in given
        else:  # a subprocess
            wrong = isinstance(given.get("text"), ast.Constant) and "encoding" not in given
        if wrong:
            found.append(f"{source}:{node.lineno}")
    return found


def _is_text(node: ast.Call, given: dict[str | None, ast.expr]) -> bool:
    """Whether a call of `open` is of a text file: there is a mode and no b in it, or it is a path's without one."""
    function = node.func
    module = getattr(function.value, "id", "") if isinstance(function, ast.Attribute) else "builtins"
    if module == "tarfile":
        return False
    of_path = module not in ("builtins", "os")
    modes = [given["mode"]] if "mode" in given else node.args[: 1 if of_path else 2]
    texts = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
    return any(set(text) <= set("rwaxt+") for text in texts)


def test_no_locale_decides_an_encoding() -> None:
    root = Path(__file__).parents[2]
    rooms = ("parley", "models", "registry", "calls", "experiments", "orchestrator", "benchmarks")

    assert [place for room in rooms for path in (root / room).rglob("*.py") for place in _without_encoding(path)] == []
