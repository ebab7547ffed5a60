"""Versions that were trained on another bot.yaml than they are to answer with: told, refused, or taken for a reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from release_site import add_version, make_site

from models.nlg.client import read_bot
from parley.bot import Bot, load_bot
from parley.bot.load import parse_bot
from parley.bundle import FAMILIES, Lineage, read_manifest
from registry.loading import SiteLoader
from registry.releasing.aliases import history
from registry.releasing.creating import create_release
from registry.releasing.documents import release_numbers
from registry.releasing.promotion import promote
from registry.releasing.stale import StaleRefused, edits, stale_version, stale_versions
from registry.site import Registry
from registry.writing import open_for_writing

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "bots" / "barista" / "bot.yaml").read_text()
ALL = dict.fromkeys(FAMILIES, 1)
REPLY = ("What can I get you?", "What shall it be?")
VALUE = ("values: [small,", "values: [huge, small,")
NO_VALUE = ("values: [small, ", "values: [")
PHRASE = ('"help", "what', '"help", "help me", "what')
DIALOGUE = (
    "confirm: true",
    "confirm: true  # as it was\n      answer: {by: [size], values: {small: s, medium: s, large: s, "
    "eight ounce: s, twelve ounce: s, sixteen ounce: s, twenty ounce: s}}",
)
VOICE = ("name: slt", "name: kal")


def changed(*pair: str) -> str:
    assert pair[0] in TEXT
    return TEXT.replace(pair[0], pair[1], 1)


def starter(stage: str, text: str, *, known: bool = True) -> tuple[tuple[str, ...], bool] | None:
    """What a starter version does not know of a bot file. ``known``: the file it was trained on can be found."""
    folder = ROOT / "triton_repo" / f"barista_{stage}" / ("3" if stage == "stt" else "1")
    old = load_bot("barista")
    bots = {old.digest: old} if known else {}
    return stale_version(parse_bot(text, "bot.yaml"), read_manifest(folder), folder, bots.get)


@pytest.mark.parametrize(
    ("edit", "stale"),
    [
        (("# A coffee", "# The coffee"), {}),
        (REPLY, {"nlg": "replies.ask_task says otherwise"}),
        (VALUE, {"stt": 'it cannot hear "huge"', "nlu": "slots.size: huge is new"}),
        (NO_VALUE, {"stt": 'it still hears "small"', "nlu": "slots.size: small is gone"}),
        (PHRASE, {"stt": 'it cannot hear "help me"', "nlu": 'intents.help: "help me" is new'}),
        (DIALOGUE, {}),
        (VOICE, {"tts": "voice is kal"}),
    ],
    ids=["a comment", "a reply", "a value", "a value less", "a phrase", "the dialogue alone", "the voice"],
)
def test_an_edit_makes_those_versions_stale_to_which_it_matters(edit: tuple[str, str], stale: dict[str, str]) -> None:
    found = {stage: starter(stage, changed(*edit)) for stage in FAMILIES}

    assert {stage: one[0][0] for stage, one in found.items() if one is not None} == stale


def test_what_a_version_keeps_itself_is_told_even_where_its_training_is_not_known() -> None:
    assert starter("stt", changed(*VALUE), known=False) == (('it cannot hear "huge"',), True)
    assert starter("nlu", changed(*VALUE), known=False) == (("slots.size: huge is new",), True)
    assert starter("nlg", changed(*REPLY), known=False) == (("replies.ask_task says otherwise",), True)
    assert starter("nlu", changed(*PHRASE), known=False) == ((), False)


def test_the_starters_are_not_stale() -> None:
    for bot in ("barista", "bank"):
        kept = read_bot(ROOT / "triton_repo" / f"{bot}_nlg" / "1" / "bot.json")
        assert kept == load_bot(bot) and edits(kept, load_bot(bot)) == []


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A site whose versions keep what those of the barista, as it is, keep."""
    keeps = {"stt": ("3", "grammar.json"), "nlu": ("1", "labels.json"), "nlg": ("1", "bot.json")}
    with open_for_writing(make_site(tmp_path)) as opened:
        for stage in FAMILIES:
            number, name = keeps.get(stage, ("1", "lexicon.json"))
            files = {name: (ROOT / "triton_repo" / f"barista_{stage}" / number / name).read_text()}
            add_version(opened, stage, files=files, lineage=Lineage(bot_digest=load_bot("barista").digest))
        yield opened


def edit(registry: Registry, *pair: str) -> Bot:
    path = registry.site.bots_dir / "barista" / "bot.yaml"
    path.write_text(changed(*pair))
    return load_bot(path)


def test_a_version_of_another_implementation_is_said_to_be_incomparable(registry: Registry) -> None:
    """It may keep a file of the same name, and its training's bot.yaml is known: neither says what it knows."""
    old = edit(registry, "# A coffee", "# The coffee")
    files = {"labels.json": (ROOT / "triton_repo" / "barista_nlu" / "1" / "labels.json").read_text()}
    facts = {"files": files, "implementation": "keyword/1", "lineage": Lineage(bot_digest=old.digest)}
    number = add_version(registry, "nlu", **facts).number
    made = create_release(registry, "barista", {**ALL, "nlu": number}, who="ada")
    with registry.catalogue.read() as c:
        assert stale_versions(registry, c, made, (registry.site.bots_dir / "barista" / "bot.yaml").read_text()) == []
        (found,) = [one for one in stale_versions(registry, c, made, changed(*VALUE)) if one.stage == "nlu"]

    assert not found.sure
    assert str(found) == "barista_nlu 2 is read by keyword/1, which is not compared with a bot.yaml: it may be stale"


def test_a_release_whose_nlg_says_the_old_words_is_refused(registry: Registry) -> None:
    edit(registry, *REPLY)

    with pytest.raises(StaleRefused) as refused:
        create_release(registry, "barista", ALL, who="ada")

    assert "barista_nlg 1 was trained on another bot.yaml: replies.ask_task says otherwise" in str(refused.value)
    assert "nlg=N" in refused.value.mend and "--stale-ok" in refused.value.mend
    assert release_numbers(registry.repo, "barista") == []


def test_a_stale_release_is_made_and_promoted_for_a_reason_that_the_audit_keeps(registry: Registry) -> None:
    edit(registry, *REPLY)
    with pytest.raises(StaleRefused, match="needs a reason"):
        create_release(registry, "barista", ALL, who="ada", stale_ok=True)

    made = create_release(registry, "barista", ALL, who="ada", why="the prompt alone", stale_ok=True)
    with pytest.raises(StaleRefused, match="barista_nlg 1"):
        promote(registry, "barista", made.number, loader=SiteLoader(registry), who="ada", why="now")
    changed = promote(
        registry, "barista", made.number, loader=SiteLoader(registry), who="ada", why="now", stale_ok=True
    )

    assert made.why == "stale accepted (barista_nlg 1): the prompt alone"
    with registry.catalogue.read() as c:
        assert history(c, "barista")[-1].why == "stale accepted (barista_nlg 1): now"
    assert any("barista_nlg 1" in warning for warning in changed.warnings)


def test_what_was_trained_on_the_edited_file_is_released(registry: Registry) -> None:
    now = edit(registry, *REPLY)
    trained = Lineage(bot_digest=now.digest)
    version = add_version(registry, "nlg", files={"bot.json": now.model_dump_json()}, lineage=trained)

    made = create_release(registry, "barista", {**ALL, "nlg": version.number}, who="ada")

    assert (
        made.why == ""
        and promote(registry, "barista", made.number, loader=SiteLoader(registry), who="ada").warnings == ()
    )


def test_a_promotion_says_that_the_file_was_edited_since(registry: Registry) -> None:
    made = create_release(registry, "barista", ALL, who="ada")
    edit(registry, *REPLY)

    (warning,) = promote(registry, "barista", made.number, loader=SiteLoader(registry), who="ada").warnings

    assert "was edited since release 1 of barista took it in (replies.ask_task)" in warning
