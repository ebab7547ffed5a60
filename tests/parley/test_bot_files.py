"""Bot files of every sort: read as they were meant, or refused where they stand, within bounds, all errors at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.bot import Bot, load_bot
from parley.bot.grammar import Grammar, beyond, shared_sentences
from parley.bot.load import Examined, examine, parse_bot
from parley.errors import ParleyError
from parley.yaml_text import read_yaml

ROOT = Path(__file__).parents[2]
TEN = "(" + "|".join("abcdefghij") + ")"


def changed(old: str, new: str, bot: str = "barista") -> str:
    """A starter's text with one thing changed."""
    text = (ROOT / "bots" / bot / "bot.yaml").read_text()
    assert old in text
    return text.replace(old, new, 1)


def told(found: Examined) -> list[str]:
    """What is refused, without the mending."""
    return [f"{problem.line}: {problem.key}: {problem.what}" for problem in found.errors]


def balance(value: str) -> str:
    """The bank with another answer for the checking account, on line 99."""
    return changed("checking: one thousand two hundred and six dollars", f"checking: {value}", "bank")


# --- YAML: a text is what was written -----------------------------------------------------------------------------


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


def test_a_phrase_whose_word_graph_would_explode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.bot.grammar.MOST_STEPS", 50_000)
    phrase = " ".join(["[(a|b)]"] * 30 + ["a"] + ["(a|b)"] * 30)

    found = examine(changed('"help", "what', f'"{phrase}", "what'), "bot.yaml")

    assert "63: intents.help.phrases.0: the phrases' word graph needs more than 50,000 steps" in "\n".join(told(found))


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


@pytest.mark.parametrize("tag", ["EN-us", "en-us", "EN-US"])
def test_a_language_tag_has_one_form(tag: str) -> None:
    assert parse_bot(changed("en-US", tag), "bot.yaml") == load_bot("barista")


@pytest.mark.parametrize("tag", ["ru-RU", "de-DE", "en_US", "en", "english"])
def test_a_language_without_rules_is_refused(tag: str) -> None:
    assert [line.split(":")[:2] for line in told(examine(changed("en-US", tag), "bot.yaml"))] == [["4", " language"]]


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
