"""The YAML of a bot file: a text is what was written, and what is none of it is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from bot_files import balance, changed, told

from parley.bot import load_bot
from parley.bot.load import examine, parse_bot
from parley.errors import ParleyError
from parley.yaml_text import read_yaml


@pytest.mark.parametrize(
    "word",
    ["9:30", "0b11", "0o17", "1_000", "1206", "yes", "no", "on", "Off", ".inf", "2026-01-31", "1e5", "0x1F", "true"],
)
def test_a_text_is_what_was_written_whatever_yaml_1_1_would_make_of_it(word: str) -> None:
    answer = parse_bot(balance(word), "bot.yaml").dialogue.tasks["balance"].answer

    assert answer is not None and answer.values["checking"] == word


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("~", 'expected text, got null - write the text; the word itself stands in quotes: "null"'),
        ("", "expected text, got null"),
        ("{size}", 'expected text, got {size: null} - put it in quotes: "{size}"'),
        ("[true, x]", 'expected text, got [true, x] - put it in quotes: "[true, x]"'),
        ('"\\ud800"', "half of a character"),
        ('"\\0"', "U+0000"),
        ('"a\\u2028b"', "U+2028"),
        ("a\u2028b", "U+2028"),
        ('"\\UFFFFFFFF"', "not valid YAML"),
        ("!!python/object/apply:os.getcwd []", "tag !!python/object/apply:os.getcwd is not read"),
        ("!!binary aGk=", "tag !!binary is not read"),
        ("*nobody", "no anchor &nobody"),
        ("a\tb: c", "not valid YAML"),
    ],
)
def test_what_is_no_text_is_told_its_line_in_yamls_spelling(written: str, says: str) -> None:
    with pytest.raises(ParleyError) as refused:
        parse_bot(balance(written), "bot.yaml")

    assert refused.value.where == "bot.yaml:99" and says in str(refused.value)


@pytest.mark.parametrize("written", ["0b11", "1_000", "3.0", "yes", "~", "9" * 5000, "\u0663", "[3]"])
def test_a_number_is_decimal_digits(written: str) -> None:
    found = examine(changed("max_no_input: 3", f"max_no_input: {written}"), "bot.yaml")

    assert [line.partition(", got")[0] for line in told(found)] == [
        "80: dialogue.max_no_input: expected a whole number such as 3"
    ]


@pytest.mark.parametrize("written", ["maybe", "1", "null", "[true]"])
def test_what_is_neither_true_nor_false_is_refused_in_yamls_spelling(written: str) -> None:
    found = examine(changed("confirm: true", f"confirm: {written}"), "bot.yaml")

    assert told(found) == [f"71: dialogue.tasks.orderDrink.confirm: expected true or false, got {written}"]


@pytest.mark.parametrize("written", ["true", "True", "yes", "on"])
def test_true_has_its_usual_spellings(written: str) -> None:
    assert parse_bot(changed("confirm: true", f"confirm: {written}"), "bot.yaml") == load_bot("barista")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "bot.yaml:1: the file is empty"),
        ("# nothing\n", "bot.yaml:1: the file is empty"),
        ("---\n", "bot.yaml:1: top level: expected a mapping"),
        ("- a\n- b\n", "bot.yaml:1: top level: expected a mapping"),
        ("name: a\n---\nname: b\n", "bot.yaml:2: a second document"),
        ("name: a\nlists:\n  x: 1\nname: b\n", "bot.yaml:4: name: the key stands twice, first on line 1"),
        ("a: [x, y\n", "bot.yaml:2: not valid YAML"),
        ("a:\n\tb: c\n", "bot.yaml:2: .*spaces"),
        ("? [a]\n: b\n", "a key that is no plain word"),
        ("a: &x [*x]\n", "bot.yaml:1: a.0: \\*x contains itself"),
        ("a: &x {b: *x}\n", "bot.yaml:1: a.b: \\*x contains itself"),
        ("a: &x {b: c}\nd:\n  <<: *x\n", "bot.yaml:3: d: merge keys"),
        ("a: " + "[" * 5000, "bot.yaml:1: nested more than 20 deep"),
        ("%YAML " + "1" * 5000 + "\n---\na: b\n", "bot.yaml:1: not valid YAML"),
        ("a: b\x00c\n", "bot.yaml:1: U\\+0000"),
        ("a: b\n# " + "x" * (600 << 10), "bot.yaml: larger than 512 KiB"),
        ("hello", "expected a mapping"),
    ],
)
def test_what_is_no_bot_file_is_one_line_with_its_place(text: str, says: str) -> None:
    with pytest.raises(ParleyError, match=says):
        parse_bot(text, "bot.yaml")


def test_aliases_count_as_often_as_they_are_used() -> None:
    tenfold = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )  # 330 bytes for 200 million values

    with pytest.raises(ParleyError, match="more than 50000 values, with every alias written out"):
        read_yaml(tenfold, "bot.yaml")
    fine = read_yaml("a: &x [b, {c: d}]\ne: *x\n", "bot.yaml")
    assert fine.data == {"a": ["b", {"c": "d"}], "e": ["b", {"c": "d"}]}
    assert fine.data["a"] is not fine.data["e"] and fine.lines["e", 1, "c"] == 2


def test_a_byte_order_mark_and_other_line_ends_change_nothing(tmp_path: Path) -> None:
    text = changed("name:", "name:")
    file = tmp_path / "bot.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())

    assert load_bot(file).digest == load_bot("barista").digest


def test_a_byte_of_another_code_is_told_its_line_and_place(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_bytes(b"name: a\ndescription: caf\xe9\n")

    with pytest.raises(ParleyError, match=r"bot.yaml:2: byte 17 of the line, 0xe9, is not UTF-8"):
        load_bot(file)
