"""A bot's language is chosen by its tag; one that there is not is named, with those there are."""

from __future__ import annotations

import pytest
from bot_files import changed, told

from parley.bot import load_bot
from parley.bot.load import examine, parse_bot
from parley.errors import ParleyError
from parley.language import LANGUAGES, language_of


@pytest.mark.parametrize("tag", ["EN-us", "en-us", "EN-US"])
def test_a_language_tag_has_one_form(tag: str) -> None:
    assert parse_bot(changed("en-US", tag), "bot.yaml") == load_bot("barista")


@pytest.mark.parametrize("tag", ["ru-RU", "de-DE", "en_US", "en", "english"])
def test_a_language_without_rules_is_refused(tag: str) -> None:
    assert [line.split(":")[:2] for line in told(examine(changed("en-US", tag), "bot.yaml"))] == [["4", " language"]]


def test_an_unknown_language_is_named_with_those_there_are() -> None:
    with pytest.raises(ParleyError, match=r"no rules for the language xx-YY - languages there are: en"):
        language_of("xx-YY")
    with pytest.raises(ParleyError, match=r"bot.yaml:4: language: .* ru-RU - .*: en \(as in en-US"):
        parse_bot(changed("en-US", "ru-RU"), "bot.yaml")
    assert language_of("en-GB") is language_of("EN") is LANGUAGES["en"]
