"""Command lines: nothing on them is taken in silence, and help says what a command is called and how much is usual."""

from __future__ import annotations

import pytest

from cli.main import run
from parley.arguments import ArgumentParser, called_as


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="x")
    parser.add_argument("file", nargs="*")
    parser.add_argument("--bot", "-b")
    parser.add_argument("--steps", type=int, default=5900, help="how many")
    parser.add_argument("--corpus", action="append")
    return parser


@pytest.mark.parametrize("line", ["--bot a --bot b", "-b a --bot=a", "--steps 5900 --steps 1"])
def test_an_option_given_twice_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(line.split())
    assert "is given twice" in capsys.readouterr().err


def test_what_may_stand_several_times_may() -> None:
    parser = _parser()

    assert parser.parse_args(["a", "b", "--corpus", "c", "--corpus", "d", "--bot", "e"]).corpus == ["c", "d"]
    assert parser.parse_args(["--bot", "f"]).bot == "f", "a parser parses any number of lines"


def test_an_option_is_not_guessed_from_its_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(["--step", "1"])


@pytest.mark.parametrize(
    "line",
    [
        "serve --bot a --bot b",
        "experiment start x --stage stt --control 1 --treatment 2 --treatment 3",
        "train stt --bot barista --data d --out o --seed 1 --seed 2",
        "evaluate slu --manifest a --manifest b",
    ],
)
def test_no_verb_takes_the_last_of_two(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(line.split())
    assert ended.value.code == 2 and "is given twice" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "export", "evaluate"])
@pytest.mark.parametrize("family", ["stt", "nlu", "nlg", "tts"])
def test_a_familys_help_says_what_is_typed_and_explains_each_option(
    verb: str, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run([verb, family, "--help"])

    told = capsys.readouterr().out
    assert told.startswith(f"usage: parley {verb} {family} [-h]")
    listed = told.split("options:")[1].splitlines()
    bare = [line for at, line in enumerate(listed) if line.startswith("  --") and len(line.split("  ")) < 3
            and not listed[at + 1].startswith("      ")]  # fmt: skip
    assert bare == [], "every option says what it is"


def test_a_verb_of_families_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--help"]) == 0
    assert "stt|nlu|nlg|tts|slu" in capsys.readouterr().out


def test_help_shows_defaults_and_the_name_it_was_called_by(capsys: pytest.CaptureFixture[str]) -> None:
    with called_as("parley train x"):
        parser = ArgumentParser(description="one\n  two")
    parser.add_argument("--steps", type=int, default=5900, help="how many")

    told = parser.format_help()

    assert "usage: parley train x" in told and "one\n  two" in told and "how many (default 5900)" in told
