"""The commands of experiments, and that the CSV tells what calls get."""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from rest_site import TOKEN, client_of, post
from rest_site import client as client
from rest_site import site as site

from calls.pseudonyms import pseudonym, pseudonym_key
from experiments import commands
from experiments.assignment import STAGES, assign_call
from experiments.store import ExperimentStore
from parley.errors import ParleyError
from parley.settings import Settings
from registry.releasing.releases import Release, StageVersion


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    commands.add_arguments(parser.add_subparsers())
    args = parser.parse_args(["experiment", *map(str, words)])
    return args.run(args)


def test_the_commands_start_ramp_list_and_stop(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    versions = ("--control", 1, "--treatment", 2, "--weights", "0.9,0.1", "--coverage", 0.1)
    assert run("start", "stt-2", "--stage", "stt", *versions, "--who", "Ada", "--why", "try") == 0
    assert run("ramp", "stt-2", "--coverage", 0.4) == 0
    capsys.readouterr()
    assert run("list", "--json") == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["coverage"], [a["weight"] for a in shown["arms"]]) == ("stt-2", 0.4, [0.9, 0.1])
    assert run("list") == 0
    assert "stt-2" in capsys.readouterr().out
    assert run("stop", "stt-2", "--why", "done") == 0
    capsys.readouterr()
    assert run("list") == 0
    assert "no experiment is live" in capsys.readouterr().out
    assert run("list", "--all") == 0
    assert "stopped" in capsys.readouterr().out
    with ExperimentStore.at(site) as store:
        assert [(a.who, a.why) for a in store.audit()][::2] == [("Ada", "try"), (commands.user(), "done")]


def test_a_version_that_is_not_published_is_refused_with_those_that_are(site: Settings) -> None:
    with pytest.raises(ParleyError, match="there is: 1, 2"):
        run("start", "x", "--bot", "barista", "--stage", "stt", "--control", 1, "--treatment", 3)
    with pytest.raises(ParleyError, match="weights must sum to 1"):
        run("start", "x", "--stage", "stt", "--control", 1, "--treatment", 2, "--weights", "50/50")


def test_the_bot_may_be_left_out_only_where_one_fits(site: Settings) -> None:
    assert commands.start("nlu-2", "nlu", 1, 2).bot == "barista"
    with pytest.raises(ParleyError, match="2 bots have version 1"):
        commands.start("aa", "nlu", 1, 1)
    assert commands.start("aa", "nlu", 1, 1, bot="bank").bot == "bank"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_tells_what_a_call_gets_before_and_after_a_ramp(site: Settings, tmp_path: Path) -> None:
    """Every id's cell is the arm of ``assign_call`` for a call from that id, over REST too, and a ramp moves nobody."""
    ids = [f"+4930{number:06d}" for number in range(2000)] + ["клиент 7", pseudonym("+4930000000", pseudonym_key(site))]
    (tmp_path / "ids.txt").write_text("\n".join(ids) + "\n\n", encoding="utf-8")
    for stage in STAGES:
        commands.start(f"{stage}-2", stage, 1, 2, coverage=0.3)
    commands.start("bank-aa", "nlu", 1, 1, bot="bank", algorithm="gb2")
    assert run("assign", "--ids", tmp_path / "ids.txt", "--csv", tmp_path / "out" / "before.csv") == 0
    commands.ramp("stt-2", 0.8)
    counts = commands.assign(tmp_path / "ids.txt", tmp_path / "after.csv")
    before, after = read_csv(tmp_path / "out" / "before.csv"), read_csv(tmp_path / "after.csv")
    assert list(after[0]) == ["id", "stt-2", "nlu-2", "nlg-2", "tts-2", "bank-aa"]
    assert [row["id"] for row in after] == ids
    assert after[0]["stt-2"] == after[-1]["stt-2"], "a caller and its pseudonym are one unit"
    assert all(old["stt-2"] in ("", new["stt-2"]) for old, new in zip(before, after, strict=True))
    assert counts["stt-2"] == Counter(row["stt-2"] for row in after)
    assert set(counts["bank-aa"]) == {"control", "treatment"}

    release = Release(number=1, stages={s: StageVersion(model=f"barista_{s}", version=1) for s in STAGES})  # type: ignore[misc]
    client = client_of(site, TOKEN)
    over_rest = post(client, "/v1/experiments/assign", {"ids": ids[:100]}).json()["arms"]
    with ExperimentStore.at(site) as store:
        snapshot = store.snapshot()
    for row in after[:-1]:
        served = assign_call(snapshot, release, pseudonym(row["id"], pseudonym_key(site)))
        assert {s: served[s].arm or "" for s in STAGES} == {s: row[f"{s}-2"] for s in STAGES}
        if row["id"] in over_rest:
            assert {n: arm or "" for n, arm in over_rest[row["id"]].items()} == {n: row[n] for n in row if n != "id"}


def test_raw_ids_are_hashed_as_they_are(site: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.start("key", "stt", 1, 2, algorithm="gb2", salt="foo")
    (tmp_path / "ids.txt").write_text("1\n")
    assert run("assign", "--ids", tmp_path / "ids.txt", "--raw") == 0
    assert capsys.readouterr().out == "id,key\n1,treatment\n"


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), (b"\n \n", "no id"), (b"a\n\xff\n", "not UTF-8")]
)
def test_a_bad_ids_file_is_said(site: Settings, tmp_path: Path, content: bytes | None, message: str) -> None:
    commands.start("stt-2", "stt", 1, 2)
    if content is not None:
        (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(ParleyError, match=message):
        commands.assign(tmp_path / "ids.txt", tmp_path / "out.csv")


def test_assign_without_a_live_experiment_says_so(site: Settings, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("1\n")
    with pytest.raises(ParleyError, match="no experiment is live"):
        commands.assign(tmp_path / "ids.txt")
