"""What bot files say: bounded, unambiguous, whole, and all errors of one at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from bot_files import balance, changed, told

from parley.bot import Bot, load_bot
from parley.bot.grammar import Grammar, GraphBounds, beyond, shared_sentences
from parley.bot.load import examine, parse_bot
from parley.bot.rules import grammar_problems
from parley.errors import ParleyError

ROOT = Path(__file__).parents[2]
TEN = "(" + "|".join("abcdefghij") + ")"


# --- phrases, lists and values: bounded before they are made ------------------------------------------------------


def _doubling(levels: int) -> str:
    return "".join(f'  l{n}: ["<l{n + 1}> <l{n + 1}>"]\n' for n in range(levels)) + f"  l{levels}: [x]\n"


def _chain(length: int) -> str:
    return "".join(f'  l{n}: ["<l{n + 1}>"]\n' for n in range(length)) + f"  l{length}: [x]\n"


MILK = '["[<amount>] <milk>"]'
LOOPS = '  loop: ["<other> x"]\n  other: ["[<loop>] y"]\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            changed('"help", "what', f'"{"(" * 900}help{")" * 900}", "what'),
            "63: intents.help.phrases.0: brackets nested more",
        ),
        (
            changed('"help", "what', f'"{"(" * 2000}help{")" * 2000}", "what'),
            "63: intents.help.phrases.0: 4004 letters",
        ),
        (changed(MILK, f'["{" ".join([TEN] * 7)}"]'), "30: slots.milkAmount.values.0: gives 10,000,000 values"),
        (changed(MILK, f'["({" ".join([TEN] * 3)} ({" ".join([TEN] * 4)}))"]'), "gives 10,000,000 values"),
        (
            changed("lists:\n", "lists:\n" + LOOPS),
            "8: lists.loop: the list contains itself: <loop> -> <other> -> <loop>",
        ),
        (changed("lists:\n", "lists:\n" + LOOPS).replace(MILK, '["<loop>"]'), "<loop> is no list of words"),
        (
            changed("lists:\n", 'lists:\n  loop: ["{milkAmount}"]\n').replace(MILK, '["<loop>"]'),
            "the slot {milkAmount} contains itself",
        ),
        (
            changed("lists:\n", "lists:\n" + _doubling(25)).replace('"help", "what', '"<l0>", "what'),
            "a word graph of 33,5",
        ),
        (changed("lists:\n", "lists:\n" + _doubling(25)).replace(MILK, '["<l0>"]'), "33,554,432 words"),
        (changed("lists:\n", "lists:\n" + _chain(400)), "nested more than 100 deep"),
        (changed("lists:\n", 'lists:\n  bad: ["<nobody> {nothing}"]\n'), "8: lists.bad.0: unknown list <nobody>"),
    ],
    ids=[
        "brackets",
        "letters",
        "in sequence",
        "nested",
        "loop",
        "loop in a value",
        "value in itself",
        "doubling lists",
        "doubling in a value",
        "chain",
        "unknown in a list",
    ],
)
def test_what_would_not_end_or_not_fit_is_counted_and_refused(text: str, says: str) -> None:
    assert says in "\n".join(told(examine(text, "bot.yaml")))


def test_a_phrase_whose_word_graph_would_explode_is_named() -> None:
    phrase = " ".join(["[(a|b)]"] * 30 + ["a"] + ["(a|b)"] * 30)
    barista = load_bot("barista")
    help_ = barista.intents["help"].model_copy(update={"phrases": [phrase, *barista.intents["help"].phrases]})
    bot = barista.model_copy(update={"intents": {**barista.intents, "help": help_}})

    (found,) = grammar_problems(bot, GraphBounds(steps=50_000))

    assert found.path == ("intents", "help", "phrases", 0)
    assert "the phrases' word graph needs more than 50,000 steps" in found.what


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            changed("  milk: [milk, skim milk, whole milk, soy milk, almond milk, cream]", "  milk: []"),
            "9: lists.milk: the list is empty",
        ),
        (
            changed("checking: [checking, current, everyday]", "checking: []", "bank"),
            "17: slots.account.values.checking: no way to say it",
        ),
        (
            changed("values: [single shot, double shot, triple shot]", "values: []"),
            "slots.numberOfShots.values: needs at least one value",
        ),
        (
            changed("values: [single shot, double shot, triple shot]", "values: {}"),
            "slots.numberOfShots: a slot of type 'values' needs",
        ),
        (
            changed('["help", "what can i (say|order)", "what do you have"]', "[]"),
            "63: intents.help.phrases: needs at least 1",
        ),
        (changed('"help", "what', '"", "what'), "63: intents.help.phrases.0: an alternative is empty"),
        (changed('"help", "what', '"[help] [me]", "what'), "63: intents.help.phrases.0: the phrase may be empty"),
        (changed('"help", "what', '"<modifiers>", "what'), "63: intents.help.phrases.0: the phrase may be empty"),
        (
            changed('    - "Which drink would you like?"\n    - "What drink is that for?"', "    []"),
            "replies.ask.coffeeDrink: needs at least 1",
        ),
        (
            changed('- "Which drink would you like?"', '- " "'),
            "90: replies.ask.coffeeDrink.0: the reply may be nothing",
        ),
        (
            changed('- "What size would you like[ for your {coffeeDrink}]?"', '- "[ for {coffeeDrink}]"'),
            "the reply may be nothing",
        ),
        (changed("values: [small,", 'values: ["[tiny]", small,'), "slots.size.values.: a value may be empty"),
        (changed("savings: [savings,", '"": [savings,', "bank"), "18: slots.account.values.: a value may be empty"),
        (
            changed("savings: [savings,", '"sav\\nings": [savings,', "bank"),
            '18: slots.account.values."sav\\nings": a value is one line',
        ),
        (
            changed("savings: [savings,", '" savings": [savings,', "bank"),
            "18: slots.account.values. savings: a value is one line",
        ),
        (
            changed("[savings, saving, deposit]", "[savings, two  spaces]", "bank"),
            "lower-case words, one space between them",
        ),
        (changed("[savings, saving, deposit]", "[savings, über]", "bank"), 'got "über"'),
        (changed("affirm: [affirm]", "affirm: []"), "dialogue.affirm: needs at least 1"),
    ],
)
def test_what_is_empty_is_refused_where_it_stands(text: str, says: str) -> None:
    assert says in "\n".join(told(examine(text, "bot.yaml")))


# --- one thing, one meaning ---------------------------------------------------------------------------------------


def test_two_values_that_are_said_alike_are_refused() -> None:
    twice = examine(changed("savings: [savings, saving, deposit]", "savings: [savings, current]", "bank"), "bot.yaml")
    named = examine(changed("savings: [savings, saving, deposit]", "current: [savings]", "bank"), "bot.yaml")

    assert told(twice) == ['18: slots.account.values.savings: "current" means "checking" already']
    assert '18: slots.account.values.current: the value is how "checking" is said' in told(named)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            changed('"help", "what', '"(help|pardon)", "what'),
            '63: intents.help.phrases.0: "pardon" is a sentence of the intent repeat too',
        ),
        (changed('"help", "what', '"[no] <additions> instead", "what'), "is a sentence of the intent change too"),
        (
            changed('"help", "what', '"(a|the) [very] small [cup] please", "what').replace(
                '"[a] {size} [please]"', '"(a|one) {size} [please]"'
            ),
            '"a small please" is a sentence of the intent inform too',
        ),
        (
            changed('- "{number} [please]"', '- "{number} [please]"\n      - "[no] five"', "digits").replace(
                '"nope"]', '"nope", "no five"]'
            ),
            '"no five" is a sentence',
        ),
    ],
    ids=["a word", "lists", "parts left out", "a part put in"],
)
def test_the_same_sentence_in_two_intents_is_refused_with_both(text: str, says: str) -> None:
    assert says in "\n".join(told(examine(text, "bot.yaml")))


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        ("One pizza~, right?", "pizza~"),
        ("You want a~[ {coffeeDrink}]", "a~"),  # nothing follows where the drink is not known
        ("You want a~[ big] {coffeeDrink}.", ""),
        ("{coffeeDrink}, about ~5 minutes.", ""),
    ],
)
def test_a_mark_that_is_said_as_written_is_a_warning(reply: str, marks: str) -> None:
    text = changed('"What size would you like[ for your {coffeeDrink}]?"', f'"{reply}"')
    found = [problem for problem in examine(text, "bot.yaml").problems if "form for" in problem.what]

    assert [problem.what for problem in found] == (
        [f'the language has no form for "{marks}": said as written'] if marks else []
    )
    assert all(problem.kind == "warning" and reply in text.splitlines()[problem.line - 1] for problem in found)


def test_what_slots_of_one_intent_say_alike_is_a_warning() -> None:
    found = examine(
        changed("values: [springfield,", "values: [current, springfield,", "bank").replace(
            "springfield/sunday: closed",
            "springfield/sunday: closed\n"
            + "".join(f"          current/{day}: closed\n" for day in ("weekday", "saturday", "sunday")).rstrip(),
        ),
        "bot.yaml",
    )

    assert '"current" may be {account} or {city}' in [problem.what for problem in found.warnings]


def test_an_intent_plays_one_part() -> None:
    found = examine(changed("cancel: [cancel]", "cancel: [cancel, deny]"), "bot.yaml")

    assert told(found) == ["76: dialogue.cancel: the intent deny stands under deny too"]


def test_an_answer_table_is_whole_and_holds_nothing_else() -> None:
    typo = examine(changed("springfield/weekday:", "sprnigfield/weekday:", "bank"), "bot.yaml")
    short = examine(
        changed("          madison/saturday: open from ten to two\n          madison/sunday: closed\n", "", "bank"),
        "bot.yaml",
    )
    digits = examine(
        changed("by: [account]", "by: [accountNumber]", "bank").replace(
            "required: [account]", "required: [accountNumber]"
        ),
        "bot.yaml",
    )
    empty = examine(balance('""'), "bot.yaml")

    assert told(typo) == [
        "110: dialogue.tasks.branchHours.answer.values.sprnigfield/weekday: "
        '"sprnigfield/weekday" is no city/day, so it is never said',
        "109: dialogue.tasks.branchHours.answer.values: no answer for springfield/weekday",
    ]
    assert typo.errors[0].mend == "did you mean springfield/weekday?"
    assert told(short) == [
        "109: dialogue.tasks.branchHours.answer.values: no answer for madison/saturday, madison/sunday"
    ]
    assert "of the type digits" in "\n".join(told(digits))
    assert "99: dialogue.tasks.balance.answer.values.checking: the answer is empty" in told(empty)


@pytest.mark.parametrize(
    "name", ["Cafe", "cafe-1", "_cafe", "1cafe", "café", '"cafe\\n"', "c" * 65, "cafe.bak", '"ca fe"']
)
def test_a_name_that_could_not_be_published_is_refused_in_the_file(name: str) -> None:
    found = examine(changed("name: barista", f"name: {name}"), "bot.yaml")

    assert [line.split(":")[:2] for line in told(found)] == [["3", " name"]]


def test_a_bot_is_called_as_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "bot.yaml").write_text(changed("name:", "name:"))
    monkeypatch.setenv("PARLEY_BOTS_DIR", str(tmp_path))

    with pytest.raises(ParleyError, match=r"bot.yaml:3: name: the bot is called barista, its folder copy"):
        load_bot("copy")


# --- everything at once -------------------------------------------------------------------------------------------


def test_every_error_is_told_at_once() -> None:
    text = changed("name: barista\n", "name: Cafe\nfoo: 1\n")
    for old, new in (
        ("{numberOfShots} [please]", "{shots} [please]"),
        ("  ask_task:", "  asktask:"),
        ('"nope"', "{size}"),
        ("max_no_input: 3", "max_no_input: x"),
        ("[light roast,", "[9,"),
        ("operator: [operator]", "operator: [person]"),
    ):
        text = text.replace(old, new, 1)

    keys = [problem.key for problem in examine(text, "bot.yaml").errors]

    for key in (
        "name",
        "foo",
        "intents.inform.phrases.3",
        "replies",
        "replies.asktask",
        "intents.deny.phrases.4",
        "dialogue.max_no_input",
        "slots.roast.values.0",
        "dialogue.operator",
    ):
        assert key in keys
    with pytest.raises(ParleyError, match=r"and \d+ more"):
        parse_bot(text, "bot.yaml")


def test_a_release_goes_on_answering_under_rules_that_came_later() -> None:
    text = changed('"help", "what', '"(help|pardon)", "what')

    assert parse_bot(text, "release 1", taken_in=True).name == "barista"
    with pytest.raises(ParleyError, match="pardon"):
        parse_bot(text, "bot.yaml")


def test_a_copy_of_a_bot_is_worked_out_anew() -> None:
    bot = load_bot("barista")
    other = bot.model_copy(update={"intents": {"help": bot.intents["help"]}})

    assert list(other.phrase_nodes) == ["help"] and other.digest != bot.digest


# --- what graphs tell ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["barista", "bank", "digits"])
def test_the_starters_are_taken_in_without_a_complaint(name: str) -> None:
    found = examine((ROOT / "bots" / name / "bot.yaml").read_text(), "bot.yaml")

    assert not found.problems and found.bot is not None and not shared_sentences(found.bot)


def test_what_one_graph_accepts_beyond_another_is_a_shortest_sentence() -> None:
    def graph(text: str) -> Grammar:
        bot: Bot = parse_bot(text, "bot.yaml")
        return Grammar(bot)

    mine = graph(changed("values: [small,", "values: [small, huge,")).network()
    theirs = Grammar(load_bot("barista")).network()

    assert beyond(theirs, theirs) is None and beyond(theirs, mine) is None
    assert beyond(mine, theirs) == "huge"
