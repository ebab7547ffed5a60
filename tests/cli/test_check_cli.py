"""`parley check`: everything at once, read-only; and what other commands say of a broken file or a stale version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from release_site import BOTS, add_version, make_site, write_seed

from cli.main import run
from orchestrator.running import check_release, notes_on
from parley.bot import load_bot
from parley.bundle import FAMILIES, Lineage
from parley.errors import ParleyError
from parley.settings import Settings
from registry.releasing.releases import champion
from registry.writing import open_for_writing

ALL = dict.fromkeys(FAMILIES, 1)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A site whose barista answers calls; the commands are this site's."""
    made = make_site(tmp_path)
    for name in ("bots_dir", "repo_dir", "state_dir"):
        monkeypatch.setenv(f"PARLEY_{name.upper()}", str(getattr(made, name)))
    with open_for_writing(made) as registry:
        trained = load_bot("barista", made)
        for stage in FAMILIES:
            files = {"bot.json": trained.model_dump_json()} if stage == "nlg" else {}
            add_version(registry, stage, files=files, lineage=Lineage(bot_digest=trained.digest))
    write_seed(made, ALL)
    with open_for_writing(made):  # the seed becomes release 1
        pass
    return made


def edit(site: Settings, *changes: tuple[str, str]) -> Path:
    path = site.bots_dir / "barista" / "bot.yaml"
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    return path


def state_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


THREE = (("{numberOfShots} [please]", "{shots} [please]"), ("max_no_match: 3", "max_nomatch: 3"), ('"nope"', "{no}"))


def test_every_error_is_a_line_with_its_place_and_the_status_is_2(
    site: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edit(site, *THREE)
    before = state_of(site.bots_dir.parent)

    status = run(["check", "barista"])

    *lines, last = capsys.readouterr().out.splitlines()
    assert status == 2 and last == f"{path}: 3 errors"
    assert [line.removeprefix(f"{path}:").split(" - ")[0] for line in lines] == [
        "43: error: intents.inform.phrases.3: unknown slot {shots}; known slots: coffeeDrink, milkAmount, "
        "numberOfShots, roast, size, sugarAmount",
        "55: error: intents.deny.phrases.4: expected text, got {no: null}",
        "81: error: dialogue.max_nomatch: unknown key",
    ]
    assert state_of(site.bots_dir.parent) == before


def test_a_good_file_has_status_0(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(BOTS / "bank")]) == 0
    assert capsys.readouterr().out.endswith("bank/bot.yaml: nothing to complain about\n")


def test_a_machine_gets_the_same_as_json(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    edit(site, *THREE)

    assert run(["check", "barista", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)

    assert told["bot"] is None and told["warnings"] == []
    assert [(one["line"], one["key"]) for one in told["errors"]] == [
        (55, "intents.deny.phrases.4"),
        (81, "dialogue.max_nomatch"),
        (43, "intents.inform.phrases.3"),
    ]


def test_a_file_that_is_no_text_is_a_line_too(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    path = site.bots_dir / "barista" / "bot.yaml"
    path.write_bytes(b"name: barista\ndescription: caf\xe9\n")

    assert run(["check", "barista"]) == 2
    assert capsys.readouterr().out.startswith(f"{path}:2: error: byte 17 of the line, 0xe9, is not UTF-8")


def test_an_edit_that_callers_do_not_hear_yet_is_a_warning(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    path = edit(site, ("What can I get you?", "What shall it be?"))
    before = state_of(site.bots_dir.parent)

    assert run(["check", "barista"]) == 0

    out = capsys.readouterr().out
    assert f"{path} was edited since release 1 of barista took it in (replies.ask_task)" in out
    assert "barista_nlg 1 was trained on another bot.yaml: replies.ask_task says otherwise" in out
    assert state_of(site.bots_dir.parent) == before


def test_other_commands_show_the_first_error_and_count_the_others(site: Settings) -> None:
    edit(site, *THREE)

    with pytest.raises(ParleyError, match="and 2 more: parley check barista"):
        load_bot("barista")


def test_serving_says_what_is_wrong_in_the_file_not_that_there_is_no_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = make_site(tmp_path)
    write_seed(fresh, ALL)
    path = edit(fresh, ("max_no_match: 3", "max_nomatch: 3"))

    with open_for_writing(fresh) as registry, pytest.raises(ParleyError) as refused:
        check_release(registry, "barista")

    assert refused.value.where == f"{path}:81" and "max_nomatch: unknown key" in refused.value.what


def test_serving_says_which_versions_are_not_published(tmp_path: Path) -> None:
    fresh = make_site(tmp_path)
    write_seed(fresh, ALL)

    with open_for_writing(fresh) as registry, pytest.raises(ParleyError, match="barista_stt"):
        check_release(registry, "barista")


def test_a_broken_file_does_not_stop_a_release_that_answers(site: Settings) -> None:
    path = edit(site, *THREE)

    with open_for_writing(site) as registry:
        release = check_release(registry, "barista")
        notes = notes_on(registry, release)
        with registry.catalogue.read() as c:
            assert champion(c, "barista").number == release.number

    assert notes[0] == f"{path} has 3 errors and answers no call: parley check barista"


def test_a_seed_of_another_bots_folder_is_told(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(site.bots_dir / "barista", site.bots_dir / "barista.bak")

    assert run(["check", "barista.bak"]) == 2
    assert "the bot is called barista, its folder barista.bak" in capsys.readouterr().out
