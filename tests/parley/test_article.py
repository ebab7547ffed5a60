"""A or an by the sound of what follows, on a table of kinds: numbers, letters by name, silent h, you and w."""

from pathlib import Path

import pytest

from parley.bot.article import article
from parley.bot.replies import relexicalise

ROWS = [
    line.split("\t")
    for line in (Path(__file__).parents[1] / "vectors" / "articles.tsv").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize(("following", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_the_article_fits_the_sound(following: str, expected: str) -> None:
    assert article(following) in expected.split("|")


@pytest.mark.parametrize("following", ["", " ", "-", "…", "東京", "é", "'", "😀", "$"])
def test_anything_may_follow(following: str) -> None:
    assert article(following) in ("a", "an")


def test_a_reply_settles_its_article() -> None:
    said = [relexicalise("A~ {thing}, coming up.", {"thing": t}) for t in ("one-way ticket", "hour-long call", "8 oz")]
    assert said == ["A one-way ticket, coming up.", "An hour-long call, coming up.", "An 8 oz, coming up."]
