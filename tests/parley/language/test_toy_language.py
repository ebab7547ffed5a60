"""A language whose letters are not Latin: its bot loads, its phrases are understood, its replies take its forms."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from toy_language import BOT, GREEK

from parley.bot import Bot
from parley.bot.grammar import Grammar
from parley.bot.load import examine, parse_bot
from parley.bot.replies import acts, realise, relexicalise, says, spoken_values
from parley.bot.slots import canonicalise, spot
from parley.errors import ParleyError
from parley.language import LANGUAGES, language_of, with_language


@pytest.fixture
def bot() -> Iterator[Bot]:
    with with_language(GREEK):
        yield parse_bot(BOT, "bot.yaml")


def test_its_bot_is_taken_in_without_a_complaint(bot: Bot) -> None:
    assert not examine(BOT, "bot.yaml").problems and bot.speech is GREEK


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Ένα~ {drink} στο", "Θέλετε~ {drink} στο", 'the language has no form for "Θέλετε~": said as written'),
        ("{drink}~acc στο", "{drink}~gen στο", 'the language has no form for "καφές~gen", "τσάι~gen"'),
        ("Ένα~ {drink} στο", "(Ένα~|Το~) {drink} στο", 'the language has no form for "Το~":'),
    ],
    ids=["word", "form of a value", "in one branch"],
)
def test_a_mark_that_the_language_does_not_know_is_a_warning(old: str, new: str, says: str) -> None:
    with with_language(GREEK):
        text = BOT.replace(old, new)
        (found,) = examine(text, "bot.yaml").problems

    assert found.kind == "warning" and says in found.what
    assert new in text.splitlines()[found.line - 1]


def test_it_is_a_language_only_while_it_is_one() -> None:
    with with_language(GREEK):
        assert language_of("el-GR") is GREEK
        with pytest.raises(ValueError, match="el"), with_language(GREEK):
            pass
    assert list(LANGUAGES) == ["en"]
    with pytest.raises(ParleyError, match="languages there are: en"):
        parse_bot(BOT, "bot.yaml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[ναι, σωστά]", "[yes]", 'intents.affirm.phrases.0: cannot read "yes"'),
        ("[ναι, σωστά]", "[Ναι]", 'intents.affirm.phrases.0: cannot read "Ναι"'),
        ("[καφέ, καφές, καφεδάκι]", "[coffee]", "slots.drink.values.καφές: expected lower-case words"),
        ("[τσάι]", "[τσάι 2]", "slots.drink.values.τσάι: expected lower-case words"),
        ("είμαι βοηθός τεχνητής νοημοσύνης", "είμαι ο Γιάννης", "Μιλάτε με βοηθό τεχνητής νοημοσύνης."),
        ("είμαι βοηθός τεχνητής νοημοσύνης", "this is an AI", "Μιλάτε με βοηθό τεχνητής νοημοσύνης."),
    ],
    ids=["Latin phrase", "capital", "Latin value", "figure", "no AI", "an AI in English"],
)
@pytest.mark.usefixtures("bot")
def test_what_is_not_its_own_is_refused(old: str, new: str, says: str) -> None:
    assert any(says in problem.complaint for problem in examine(BOT.replace(old, new), "bot.yaml").errors)


def test_its_word_graph_accepts_what_its_phrases_draw(bot: Bot) -> None:
    grammar, rng = Grammar(bot), random.Random(7)

    drawn = [grammar.sample(rng) for _ in range(300)]

    assert all(grammar.accepts(said.text) for said in drawn)
    assert all(spot(bot.slots, said.text, bot.speech) == said.slots for said in drawn)
    assert grammar.accepts("θέλω έναν καφεδάκι στο τραπέζι είκοσι ένα παρακαλώ")


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("θέλω έναν καφέ στο τραπέζι είκοσι ένα", {"drink": "καφές", "table": "21"}),
        ("τραπέζι διπλό τρία", {"table": "33"}),
        ("ΤΣΆΙ στο οχτώ", {"drink": "τσάι", "table": "8"}),
        ("τίποτα", {}),
    ],
)
def test_its_words_fill_slots(bot: Bot, text: str, slots: dict[str, str]) -> None:
    assert spot(bot.slots, GREEK.letters.fold(text), bot.speech) == slots


def test_a_slot_folds_its_case_and_its_silent_marks(bot: Bot) -> None:
    assert canonicalise(bot.slots["drink"], "Τσˈάι", bot.speech) == "τσάι"
    assert canonicalise(bot.slots["table"], "ΕΊΚΟΣΙ ένα", bot.speech) == "21"
    assert canonicalise(bot.slots["table"], "seven", bot.speech) is None


@pytest.mark.parametrize(
    ("drink", "asked"),
    [
        ("καφές", "Ένας καφές στο τραπέζι δύο ένα, σωστά;"),
        ("τσάι", "Ένα τσάι στο τραπέζι δύο ένα, σωστά;"),
        ("λεμονάδα", "Μία λεμονάδα στο τραπέζι δύο ένα, σωστά;"),
    ],
)
def test_a_marked_word_agrees_with_what_follows(bot: Bot, drink: str, asked: str) -> None:
    assert realise(bot, "confirm.order", {"drink": drink, "table": "21"}) == asked


def test_a_value_takes_the_form_that_a_reply_asks_for_and_is_still_said(bot: Bot) -> None:
    slots = {"drink": "καφές", "table": "7"}

    said = realise(bot, "done.order", slots)

    assert said == "Φέρνω καφέ στο επτά. Κάτι άλλο;"
    assert says(said, spoken_values(bot, slots), bot.speech) == []
    assert says(said.replace("καφέ", "τσάι"), spoken_values(bot, slots), bot.speech) == ["drink"]
    assert relexicalise("{drink}~gen και {x}~acc", {"drink": "καφές"}, GREEK) == "Καφές~gen και {x}~acc"


def test_every_act_has_words(bot: Bot) -> None:
    values = {"drink": "τσάι", "table": "2"}

    for spec in acts(bot):
        assert GREEK.letters.plain(realise(bot, spec.act, {slot: values[slot] for slot in spec.required}))
