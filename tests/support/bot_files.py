"""Bot files with one thing changed, and what is told about them."""

from __future__ import annotations

from pathlib import Path

from parley.bot.load import Examined

BOTS = Path(__file__).parents[2] / "bots"


def changed(old: str, new: str, bot: str = "barista") -> str:
    """A starter's text with one thing changed."""
    text = (BOTS / bot / "bot.yaml").read_text()
    assert old in text
    return text.replace(old, new, 1)


def told(found: Examined) -> list[str]:
    """What is refused, without the mending."""
    return [f"{problem.line}: {problem.key}: {problem.what}" for problem in found.errors]


def balance(value: str) -> str:
    """The bank with another answer for the checking account, on line 99."""
    return changed("checking: one thousand two hundred and six dollars", f"checking: {value}", "bank")
