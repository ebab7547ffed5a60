"""What a text says of a meaning: slots missing, added, wrong; delexicalised and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.nlg.check import plain, repaired, says_exactly
from models.nlg.corpora import Meaning, Reference, by_meaning, parse_meaning, read_references, split
from models.nlg.delexicalise import delexicalise, written
from models.nlg.prompts import EXTRA, slot_keys
from models.nlg.realisations import Patterns, SlotDiff
from parley.errors import ParleyError

NAMES = [("name", "Cotto"), ("name", "The Rice Boat"), ("near", "Café Rouge"), ("near", "The Rice Boat")]
PATTERNS = Patterns.of_e2e(NAMES)


def diff(text: str, meaning: str) -> SlotDiff:
    return PATTERNS.errors(text, parse_meaning(meaning))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Cotto is a cheap pub.", "name[Cotto], eatType[pub], priceRange[cheap]"),
        ("Cotto is a cheap pub.", "name[Cotto], eatType[pub], priceRange[less than £20]"),
        ("Cotto, near Café Rouge, is not family-friendly.", "name[Cotto], familyFriendly[no], near[Café Rouge]"),
        ("Cotto is no good for children.", "name[Cotto], familyFriendly[no]"),
        ("Children are not welcome at Cotto.", "name[Cotto], familyFriendly[no]"),
        ("Cotto welcomes families.", "name[Cotto], familyFriendly[yes]"),
        ("Cotto is a family restaurant.", "name[Cotto], eatType[restaurant], familyFriendly[yes]"),
        ("Cotto is a highly rated coffee shop.", "name[Cotto], eatType[coffee shop], customer rating[high]"),
        ("Cotto has a 5 out of 5 rating.", "name[Cotto], customer rating[5 out of 5]"),
        ("Cotto is a one-star pub.", "name[Cotto], eatType[pub], customer rating[low]"),
        ("Cotto costs $20 - 25 by the river.", "name[Cotto], priceRange[£20-25], area[riverside]"),
        ("Cotto serves British food at a high price.", "name[Cotto], food[English], priceRange[high]"),
        ("Cotto has a high price range and a low rating.", "name[Cotto], priceRange[high], customer rating[low]"),
        (
            "Cotto has an average rating and high prices.",
            "name[Cotto], priceRange[high], customer rating[average]",
        ),
        (
            "Cotto has a low price and average rating.",
            "name[Cotto], priceRange[cheap], customer rating[average]",
        ),
        ("In the centre of the city is Cotto.", "name[Cotto], area[city centre]"),
        ("Cotto is near The Rice Boat.", "name[Cotto], near[The Rice Boat]"),
        ("Cotto is cheap, at less than £20.", "name[Cotto], priceRange[cheap], priceRange[less than £20]"),
    ],
)
def test_a_text_that_says_its_meaning_has_no_errors(text: str, meaning: str) -> None:
    assert diff(text, meaning).errors == 0


@pytest.mark.parametrize(
    ("text", "meaning", "expected"),
    [
        ("Cotto is a pub.", "name[Cotto], eatType[pub], near[Café Rouge]", SlotDiff(missing=1)),
        ("It is a pub.", "name[Cotto], eatType[pub]", SlotDiff(missing=1)),
        ("Cotto is a cheap pub.", "name[Cotto], eatType[pub]", SlotDiff(added=1)),
        ("Cotto is near Café Rouge.", "name[Cotto]", SlotDiff(added=1)),
        ("Cotto is near The Rice Boat.", "name[Cotto], near[Café Rouge]", SlotDiff(wrong=1)),
        ("Cotto is family friendly.", "name[Cotto], familyFriendly[no]", SlotDiff(wrong=1)),
        ("Cotto is not family friendly.", "name[Cotto], familyFriendly[yes]", SlotDiff(wrong=1)),
        ("Cotto serves Italian food.", "name[Cotto], food[French]", SlotDiff(wrong=1)),
        ("Cotto has a low rating.", "name[Cotto], customer rating[high]", SlotDiff(wrong=1)),
        ("Cotto is expensive.", "name[Cotto], priceRange[cheap]", SlotDiff(wrong=1)),
        ("Cotto is inexpensive.", "name[Cotto], priceRange[high]", SlotDiff(wrong=1)),
        ("Cotto is cheap.", "name[Cotto], priceRange[cheap], priceRange[high]", SlotDiff(missing=1)),
        ("Cotto is a pub and restaurant.", "name[Cotto], eatType[pub]", SlotDiff(added=1)),
        ("Cotto is a pub. Cotto is a cheap pub.", "name[Cotto], eatType[pub]", SlotDiff(added=1, repeated=2)),
    ],
)
def test_missing_added_and_wrong_values_are_counted_apart(text: str, meaning: str, expected: SlotDiff) -> None:
    assert diff(text, meaning) == expected


def test_the_name_of_a_place_says_nothing_else() -> None:
    assert diff("Cotto is near Café Rouge.", "name[Cotto], near[Café Rouge]") == SlotDiff()


def test_a_pattern_that_does_not_compile_is_named() -> None:
    with pytest.raises(ParleyError, match="does not compile"):
        Patterns({"slots": {"area": {"x": ["("]}}, "lists": {}, "verbatim": []})


@pytest.mark.parametrize("slot", PATTERNS.spec["slots"])
def test_plain_sentences_say_every_value(slot: str) -> None:
    for value in PATTERNS.spec["slots"][slot]:
        meaning: Meaning = (("name", "Cotto"), (slot, value), ("near", "Café Rouge"))
        assert PATTERNS.errors(plain(meaning, PATTERNS.spec), meaning).errors == 0, value


@pytest.mark.parametrize("text", ["", "name", "name[Cotto] and more", "colour[red]", "name[Cotto"])
def test_what_is_no_meaning_is_refused(text: str) -> None:
    with pytest.raises(ParleyError, match="not a meaning"):
        parse_meaning(text)


def test_the_order_of_slots_is_not_the_meaning() -> None:
    assert parse_meaning("near[Ranch], name[Cotto]") == parse_meaning("name[Cotto], near[Ranch]")


def test_a_corpus_is_read_and_meanings_keep_their_order(tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    file.write_text('mr,ref\n"name[B], food[French]",One  two.\nname[A],Three\n"food[French], name[B]","Fo,ur"\n')
    found = by_meaning(read_references(file))
    assert list(found.values()) == [["One two.", "Fo,ur"], ["Three"]]


def test_a_file_that_is_no_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    for name in ("c.csv", "none.csv"):
        with pytest.raises(ParleyError, match="corpus file"):
            read_references(tmp_path / name)


def test_no_meaning_and_no_group_is_on_both_sides_of_the_split() -> None:
    # Meanings of two groups tie these together, in a chain.
    rows = [Reference((("name", f"N{i // 3}"),), str(i), f"g{i // 2}") for i in range(12)]
    rows += [Reference((("name", f"M{i}"),), str(i), f"h{i}") for i in range(200)]
    train, valid = split(rows, 7)
    assert sorted(map(repr, train + valid)) == sorted(map(repr, rows))
    assert not {r.meaning for r in train} & {r.meaning for r in valid}
    assert not {r.group for r in train} & {r.group for r in valid}
    assert 20 <= len(valid) <= 70


@pytest.mark.parametrize(
    ("text", "meaning", "expected"),
    [
        ("Cotto is an English Pub near the Café Rouge", "name[Cotto], eatType[pub], food[English], near[Café Rouge]",
         "{name} is a~ {food} {eatType} near the {near}."),
        ("Cotto : cheap .", "name[Cotto], priceRange[cheap]", "{name}: cheap."),
        ("Cotto is a pub and restaurant.", "name[Cotto], eatType[pub], eatType[restaurant]",
         "{name} is a {eatType} and {eatType2}."),
        ("Cotto serves coffee.", "name[Cotto], eatType[coffee shop]", None),
        ("Cotto is a pub, a pub.", "name[Cotto], eatType[pub]", None),
        ("Cotto is a pub.", "name[Cotto]", None),
    ],
    ids=["all", "marks", "two values", "loose", "twice", "untrue"],
)  # fmt: skip
def test_delexicalised_references_hold_placeholders(text: str, meaning: str, expected: str | None) -> None:
    assert delexicalise(text, parse_meaning(meaning), PATTERNS) == expected


def test_values_are_written_with_their_articles_and_capitals() -> None:
    meaning = parse_meaning("name[The Rice Boat], eatType[pub], food[Indian], near[Ranch]")
    text = "near {near} is the {name}. it is a~ {food} {eatType}."
    assert written(text, meaning) == "Near Ranch is The Rice Boat. It is an Indian pub."
    fast = parse_meaning("name[Cotto], food[Fast food]")
    assert written("{name} serves {food} food.", fast) == "Cotto serves fast food."


def test_a_prompt_has_a_place_for_each_slot_and_some_for_second_values() -> None:
    keys = slot_keys(parse_meaning("name[A], priceRange[high], priceRange[cheap], food[French], food[Indian]"))
    assert keys == ["name", "", "food", "priceRange=cheap", "", "", "", "", "food2", "priceRange=high"] + [""] * (
        EXTRA - 2
    )
    assert slot_keys(parse_meaning("name[A], food[French], food[Indian], food[Chinese]")) is None


BOTH = parse_meaning("name[Cotto], eatType[pub], priceRange[cheap], near[Café Rouge]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{name} is a cheap {eatType} near {near}.", True),
        ("{name} is a cheap {eatType} near {near}. {name} is good.", True),
        ("{name} is a cheap {eatType}.", False),
        ("{name} is a cheap {eatType} near {near} and {near}.", False),
        ("{name} is a cheap and inexpensive {eatType} near {near}.", False),
        ("{name} is a cheap riverside {eatType} near {near}.", False),
        ("{name} is a cheap {eatType} near {near} with {food} food.", False),
        ("{name} is a cheap pub near {near}.", False),
        ("{name} is a cheap {eatType} near {near}, with breakfast.", False),
        ("", False),
    ],
)
def test_only_a_reply_that_says_all_of_its_meaning_once_and_nothing_else_passes(text: str, expected: bool) -> None:
    assert says_exactly(text, BOTH, PATTERNS) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{name} is a {eatType}.", "Cotto is a pub. Its price range is cheap. It is near Café Rouge."),
        ("a cheap {eatType} is near {near}.", "A cheap pub is near Café Rouge. There is a place called Cotto."),
        ("{name} is an expensive {eatType} near {near}.", None),
        ("", None),
    ],
    ids=["two", "name", "wrong", "empty"],
)
def test_what_a_reply_misses_is_added_but_what_is_wrong_stays_wrong(text: str, expected: str | None) -> None:
    mended = repaired(text, BOTH, PATTERNS)
    assert (mended and written(mended, BOTH)) == expected


def test_a_place_without_a_name_is_this_place() -> None:
    meaning = parse_meaning("eatType[pub], area[riverside]")
    mended = repaired("{name} is a riverside {eatType}.", meaning, PATTERNS)
    assert mended and written(mended, meaning) == "This place is a riverside pub."
