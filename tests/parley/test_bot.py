"""Bot files: what a good one means, and what a bad one is told."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from parley.bot import Bot, IntentSpec, SlotSpec, load_bot, replies
from parley.bot.grammar import Grammar
from parley.bot.slots import canonicalise, draw_value, spoken_form, spot
from parley.errors import ParleyError
from parley.language.english import ENGLISH

ROOT = Path(__file__).parents[2]
BOTS = sorted(p.parent.name for p in (ROOT / "bots").glob("*/bot.yaml"))


@pytest.fixture(params=BOTS)
def bot(request: pytest.FixtureRequest) -> Bot:
    return load_bot(ROOT / "bots" / request.param)


def test_the_bots_are_there() -> None:
    assert BOTS == ["bank", "barista", "digits"]


def test_every_drawn_utterance_is_in_the_word_graph_and_means_its_slots(bot: Bot) -> None:
    grammar, rng = Grammar(bot), random.Random(3)
    for _ in range(400):
        said = grammar.sample(rng)
        words = said.text.split()
        assert grammar.accepts(said.text)
        for span in said.spans:
            spoken = " ".join(words[span.start_word : span.end_word])
            assert canonicalise(bot.slots[span.slot], spoken, bot.speech) == span.value


def test_values_spotted_in_a_drawn_order_are_the_ones_that_were_meant() -> None:
    bot = load_bot(ROOT / "bots" / "barista")
    grammar, rng = Grammar(bot), random.Random(9)
    for _ in range(400):
        said = grammar.sample_intent("orderDrink", rng)
        assert spot(bot.slots, said.text, bot.speech) == said.slots


def test_spotting_takes_the_longest_value_and_digits() -> None:
    bank = load_bot(ROOT / "bots" / "bank")

    assert spot(bank.slots, "my account number is four oh two one", bank.speech) == {"accountNumber": "4021"}
    assert spot(bank.slots, "nothing of interest", bank.speech) == {}


def test_the_word_graph_refuses_what_nobody_would_say(bot: Bot) -> None:
    grammar = Grammar(bot)
    for text in ("", "yes yes yes", "with", "purple elephant"):
        assert not grammar.accepts(text)


def test_every_act_has_a_reply_for_every_mix_of_its_slots(bot: Bot) -> None:
    rng = random.Random(5)
    for spec in replies.acts(bot):
        for _ in range(30):
            names = [*spec.required, *(s for s in spec.optional if rng.random() < 0.5)]
            slots = {n: draw_value(bot.slots[n], rng) if n in bot.slots else "nine to five" for n in names}
            text = replies.realise(bot, spec.act, slots)
            assert not replies.says(text, replies.spoken_values(bot, slots), bot.speech)
            assert "{" not in text and "~" not in text


def test_barista_covers_the_recorded_orders(recordings: Path) -> None:
    import json

    grammar = Grammar(load_bot(ROOT / "bots" / "barista"))
    rows = [json.loads(line) for line in recordings.read_text().splitlines()]
    unknown = [r["text"] for r in rows if r["text"] and not grammar.accepts(r["text"])]
    values = {(k, v) for r in rows for k, v in r["slots"].items()}

    assert unknown == []
    assert all(canonicalise(grammar.bot.slots[k], v, grammar.bot.speech) == v for k, v in values)


@given(st.text("0123456789", min_size=4, max_size=8), st.randoms(use_true_random=False))
def test_digits_survive_being_spoken(digits: str, rng: random.Random) -> None:
    spec = SlotSpec(type="digits", digits_min=4, digits_max=8)
    assert canonicalise(spec, spoken_form(spec, digits, ENGLISH, rng), ENGLISH) == digits
    assert canonicalise(spec, spoken_form(spec, digits, ENGLISH), ENGLISH) == digits


@pytest.mark.parametrize(
    ("said", "digits"),
    [
        ("oh double three", "033"),
        ("triple oh seven", "0007"),
        ("double double three", None),
        ("three double", None),
        ("double", None),
        ("4 0 double 2", "4022"),
        ("double 22", None),
        ("four apples", None),
        ("", None),
    ],
)
def test_digits_are_said_one_by_one_or_repeated(said: str, digits: str | None) -> None:
    assert canonicalise(SlotSpec(type="digits", digits_min=1, digits_max=16), said, ENGLISH) == digits


def _only_digits(fewest: int, most: int) -> Grammar:
    digits = load_bot(ROOT / "bots" / "digits")
    slot = SlotSpec(type="digits", digits_min=fewest, digits_max=most)
    intents = {**digits.intents, "giveNumber": IntentSpec(phrases=["{number}"])}
    return Grammar(digits.model_copy(update={"slots": {"number": slot}, "intents": intents}), ["giveNumber"])


@given(st.lists(st.sampled_from(["zero", "oh", "one", "nine", "double", "triple"]), max_size=8))
def test_the_word_graph_accepts_exactly_the_words_that_are_a_value(words: list[str]) -> None:
    grammar = _only_digits(2, 5)
    value = canonicalise(grammar.bot.slots["number"], " ".join(words), grammar.bot.speech)
    assert grammar.accepts(" ".join(words)) == (value is not None)


def test_the_word_graph_of_digits_grows_with_their_number_not_with_their_strings() -> None:
    arcs = [len(_only_digits(1, most).network().arcs) for most in (8, 16, 32)]
    assert arcs[2] < 4.5 * arcs[0] and arcs[1] < 600


def test_the_digest_names_the_content_not_the_layout(tmp_path: Path) -> None:
    source = ROOT / "bots" / "bank" / "bot.yaml"
    other = tmp_path / "bot.yaml"
    other.write_text("# a comment\n" + source.read_text())
    changed = tmp_path / "changed.yaml"
    changed.write_text(source.read_text().replace("language: en-US", "language: en-GB"))

    assert load_bot(other).digest == load_bot(source).digest
    assert load_bot(changed).digest != load_bot(source).digest


def _broken(tmp_path: Path, old: str, new: str) -> Path:
    text = (ROOT / "bots" / "barista" / "bot.yaml").read_text()
    assert old in text
    file = tmp_path / "bot.yaml"
    file.write_text(text.replace(old, new, 1))
    return file


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        pytest.param("language: en-US", "language: english", "language", id="language"),
        pytest.param("name: barista\n", "", "name: this key is required", id="missing key"),
        pytest.param("confirm: true", "confirm: maybe", "confirm", id="wrong type"),
        pytest.param("max_no_match: 3", "max_nomatch: 3", "max_nomatch: unknown key", id="unknown key"),
        pytest.param("{numberOfShots} [please]", "{shots} [please]", "unknown slot {shots}", id="unknown slot"),
        pytest.param("<drink>\"", "<dring>\"", "unknown list <dring>", id="unknown list"),
        pytest.param("[a] {size} [please]", "[a {size} [please]", "missing ']'", id="open bracket"),
        pytest.param("required: [coffeeDrink, size]", "required: [cup]", "unknown slot 'cup'", id="unknown required"),
        pytest.param("operator: [operator]", "operator: [person]", "unknown intent 'person'", id="unknown intent"),
        pytest.param("AI assistant", "assistant", "must say that the caller talks to an AI", id="AI disclosure"),
        pytest.param("  ask_task:", "  asktask:", "no reply for act 'ask_task'", id="missing reply"),
        pytest.param("coffee, iced coffee", "Coffee, iced coffee", "lower-case words", id="capital in a value"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_file_line_key_and_expectation(tmp_path: Path, old: str, new: str, says: str) -> None:
    file = _broken(tmp_path, old, new)
    with pytest.raises(ParleyError) as caught:
        load_bot(file)

    assert says in str(caught.value)
    name, _, line = caught.value.where.rpartition(":")
    assert name == str(file) and int(line) >= 1


def test_the_line_is_the_line_of_the_mistake(tmp_path: Path) -> None:
    file = _broken(tmp_path, "{numberOfShots} [please]", "{shots} [please]")
    with pytest.raises(ParleyError) as caught:
        load_bot(file)

    line = int(caught.value.where.rpartition(":")[2])
    assert "{shots}" in file.read_text().splitlines()[line - 1]


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "", "a: 1\na: 2\n", "\tname: x"])
def test_what_is_no_bot_at_all_is_one_clear_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text(text)
    with pytest.raises(ParleyError, match="bot.yaml:"):
        load_bot(file)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_no_yaml_at_all_makes_anything_but_a_parley_error(
    tmp_path_factory: pytest.TempPathFactory, data: object
) -> None:
    file = tmp_path_factory.mktemp("bot") / "bot.yaml"
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(ParleyError):
        load_bot(file)


def test_an_unknown_bot_is_told_the_known_ones() -> None:
    with pytest.raises(ParleyError, match="known bots: bank, barista, digits"):
        load_bot("nobody")


def test_a_list_that_contains_itself_is_refused(tmp_path: Path) -> None:
    file = _broken(tmp_path, "  milk: [milk,", '  loop: ["<loop> x"]\n  milk: [milk,')
    with pytest.raises(ParleyError, match="contains itself"):
        load_bot(file)
