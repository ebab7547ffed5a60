"""A or an by the sound of what follows, on a table of kinds: numbers, letters by name, silent h, you and w."""

from pathlib import Path

import pytest

from parley.bot.replies import relexicalise
from parley.language.english import ENGLISH
from parley.language.english.article import article

ROWS = [
    line.split("\t")
    for line in (Path(__file__).parents[2] / "vectors" / "articles.tsv").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize(("following", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_the_article_fits_the_sound(following: str, expected: str) -> None:
    assert article(following) in expected.split("|")


@pytest.mark.parametrize("following", ["", " ", "-", "…", "東京", "é", "'", "😀", "$"])
def test_anything_may_follow(following: str) -> None:
    assert article(following) in ("a", "an")


def test_a_reply_settles_its_article() -> None:
    things = ("one-way ticket", "hour-long call", "8 oz")
    said = [relexicalise("A~ {thing}, coming up.", {"thing": thing}, ENGLISH) for thing in things]
    assert said == ["A one-way ticket, coming up.", "An hour-long call, coming up.", "An 8 oz, coming up."]
