"""What the gate writes down: the row, the page, the terminal, the exit status, and who becomes the candidate."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sqlalchemy as sa
from release_site import add_versions, make_site
from rich.console import Console

from cli import gate as command
from judging import evidence as evidence_module
from judging.evidence import Gathered
from parley.errors import ParleyError
from registry import tables as t
from registry.gating.comparison import Pair
from registry.gating.gate import Evidence, GoldenResult, Verdict, decide
from registry.gating.gate_rules import GateRules, SliceRule
from registry.gating.verdict import record, show, write_report
from registry.gating.verdict_page import page
from registry.loading import SiteLoader
from registry.releasing.aliases import current_aliases
from registry.releasing.creating import create_release
from registry.releasing.promotion import PromotionRefused, promote, rollback
from registry.releasing.releases import releases
from registry.site import Registry
from registry.writing import open_for_writing

RULES = GateRules(slices=[SliceRule(field="condition", margin=0.08)])


def _evidence(gained: int, candidate: int = 2, against: int = 1) -> Evidence:
    pairs = [
        Pair(f"{s}-{u}", f"spk{s}", int(s * 8 + u >= gained or u % 8 > 0), 1, slices={"condition": "<b>loud</b>"})
        for s in range(gained // 8 or 10)
        for u in range(8)
    ]
    pairs += [Pair(f"{s}+{u}", f"spk{s}", int(u > 0), 1, slices={"condition": "clean"})
              for s in range(12 if gained else 0) for u in range(8)]  # fmt: skip
    golden = [GoldenResult("hear-01", False, False, "affirm", "<script>alert(1)</script>")]
    return Evidence("barista", candidate, against, {"nlu": ("barista_nlu 1", "barista_nlu 2")}, pairs, golden=golden)


def _verdict(accepted: bool, candidate: int = 2, against: int = 1) -> Verdict:
    verdict = decide(_evidence(96 if accepted else 0, candidate, against), RULES)
    assert verdict.accepted is accepted, verdict.headline
    return verdict


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Two versions of every stage; release 1 is champion, release 2 has the second NLU."""
    registry = open_for_writing(make_site(tmp_path))
    add_versions(registry, 2)
    create_release(registry, "barista", dict.fromkeys(("stt", "nlu", "nlg", "tts"), 1), who="ada", why="first")
    promote(registry, "barista", 1, loader=SiteLoader(registry), who="ada", why="first", force=True)
    create_release(registry, "barista", {"nlu": 2}, who="ada", why="more data")
    return registry


def _candidate(registry: Registry) -> int | None:
    with registry.catalogue.read() as c:
        return current_aliases(c, "barista").candidate


def test_an_accepted_verdict_makes_its_release_the_candidate(registry: Registry) -> None:
    number = record(registry, _verdict(True), who="ada").number

    assert _candidate(registry) == 2
    with registry.catalogue.read() as c:
        row = c.execute(sa.select(t.verdicts).where(t.verdicts.c.id == number)).one()
    assert (row.bot, row.candidate, row.against, row.accepted, row.who) == ("barista", 2, 1, True, "ada")
    assert row.report["headline"].startswith("Accepted: release 2") and row.report["checks"]


def test_a_refusal_is_kept_and_makes_nobody_the_candidate(registry: Registry) -> None:
    record(registry, _verdict(False), who="ada")
    record(registry, _verdict(False), who="ada")

    assert _candidate(registry) is None
    with registry.catalogue.read() as c:
        assert c.scalar(sa.select(sa.func.count()).select_from(t.verdicts)) == 2


def test_a_verdict_against_another_release_than_the_champion_makes_nobody_the_candidate(registry: Registry) -> None:
    promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="by hand", force=True)

    record(registry, _verdict(True), who="ada")

    assert _candidate(registry) is None


def test_verdicts_cannot_be_rewritten(registry: Registry) -> None:
    record(registry, _verdict(False), who="ada")

    with pytest.raises(Exception, match="verdicts"), registry.catalogue.write() as c:
        c.execute(sa.update(t.verdicts).values(accepted=True))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("accepted", [True, False])
def test_the_page_says_why_first_draws_the_slices_and_loads_nothing(accepted: bool) -> None:
    verdict = _verdict(accepted)
    reader = _Reader()

    reader.feed(page(verdict))

    text = " ".join(reader.text)
    assert text.index(verdict.headline) < text.index("Why it was") < text.index("Gain over the champion")
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("circle") == sum("interval" in c.figures for c in verdict.checks)
    assert not {"script", "link", "img", "iframe", "b"} & set(tags), "names of slices are text, not markup"
    assert not [v for _, attrs in reader.tags for k, v in attrs.items() if k in ("src", "href")]


def test_no_bar_of_the_plot_leaves_the_picture() -> None:
    drawn = page(replace(_verdict(False), checks=decide(_evidence(0), GateRules(slices=RULES.slices)).checks))

    assert all(0 <= float(x) <= 860 for x in re.findall(r"(?:x1|x2|cx)='([-\d.]+)'", drawn))


def test_a_dot_of_the_plot_stands_where_its_gain_is() -> None:
    checks = decide(_evidence(0), GateRules(slices=RULES.slices)).checks
    far = replace(checks[0], name="better", outcome="failed", figures={
        "interval": (-1.0, -0.44), "gain": -0.76, "pairs": 71, "units": 71, "champion": 0.93, "candidate": 0.17,
        "gained": 1, "lost": 55, "speakers": 6, "p_mcnemar": 1.0,
    })  # fmt: skip

    drawn = page(replace(_verdict(False), checks=(far,)))

    zero = float(re.findall(r"<line x1='([-\d.]+)'[^>]*stroke='currentColor' opacity", drawn)[0])
    dot = float(re.findall(r"cx='([-\d.]+)'", drawn)[0])
    ends = [float(x) for x in re.findall(r"<line x1='[-\d.]+' x2='([-\d.]+)' y1='\d+' y2='\d+' stroke='var", drawn)]
    assert (zero - dot) / (zero - ends[0]) == pytest.approx(0.76 / 0.44, rel=0.01)


def test_the_report_holds_every_utterance(tmp_path: Path) -> None:
    html, data = write_report(tmp_path / "r", _verdict(False), [{"id": "a.flac|clean", "said": "a latte"}])

    assert html.read_text().startswith("<!doctype html>")
    content = json.loads(data.read_text())
    assert content["rows"][0]["id"] == "a.flac|clean" and content["accepted"] is False and content["reasons"]


def test_the_terminal_shows_markup_as_it_is() -> None:
    out = io.StringIO()

    show(_verdict(True), Console(file=out, width=200, soft_wrap=True))

    assert out.getvalue().startswith("Accepted: release 2 is better than release 1.")
    assert "<b>loud</b>" in out.getvalue()


@pytest.mark.parametrize(("gained", "status"), [(96, 0), (0, 1)])
def test_the_command_ends_with_the_verdict(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gained: int, status: int
) -> None:
    async def gathered(*args: object) -> Gathered:
        return Gathered(_evidence(gained), [])

    monkeypatch.setattr(evidence_module, "gather", gathered)
    monkeypatch.setattr(command, "settings", lambda: registry.site)
    (registry.site.bots_dir / "barista" / "gate.yaml").write_text("slices: [{field: condition, margin: 0.08}]\n")

    assert command.main(["2", "--bot", "barista", "--report", str(tmp_path / "r")]) == status
    assert _candidate(registry) == (2 if status == 0 else None)
    assert (tmp_path / "r" / "verdict.html").is_file()


def test_versions_make_one_release_however_often_they_are_judged(registry: Registry) -> None:
    one = command.releases_of(registry, ["tts=2", "nlg=2"], "champion", "barista", who="ada")
    again = command.releases_of(registry, ["nlg=2", "tts=2"], "champion", "barista", who="ada")

    assert one[0].number == 1 and one[1].number == again[1].number == 3
    assert {s: r.version for s, r in one[1].stages.items()} == {"stt": 1, "nlu": 1, "nlg": 2, "tts": 2}
    with registry.catalogue.read() as c:
        assert len(releases(c, "barista")) == 3


@pytest.mark.parametrize(
    ("candidate", "against", "complaint"),
    [
        (["9"], "champion", "there is no release 9"),
        (["stt=x"], "champion", "expected stage=version"),
        (["asr=2"], "champion", "expected stage=version"),
        (["2"], "best", "expected a release, got 'best'"),
        (["2"], "previous", "the bot has no previous"),
        (["best"], "champion", "expected a release, got 'best'"),
    ],
)
def test_a_name_that_leads_nowhere_is_said(
    registry: Registry, candidate: list[str], against: str, complaint: str
) -> None:
    with pytest.raises(ParleyError, match=re.escape(complaint)):
        command.releases_of(registry, candidate, against, "barista", who="ada")


def test_an_stt_candidate_without_recordings_is_told_what_to_give(registry: Registry) -> None:
    import asyncio

    from judging.evidence import Materials, gather

    against, candidate = command.releases_of(registry, ["stt=2"], "champion", "barista", who="ada")

    with pytest.raises(ParleyError, match="--utterances MANIFEST.jsonl"):
        asyncio.run(gather(registry, candidate, against, RULES, Materials()))


class _Fast(datetime):
    """The clock of a host that is five minutes ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(minutes=5)


class _Slow(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) - timedelta(minutes=5)


@pytest.mark.parametrize("judge", [_Fast, _Slow], ids=["the judge's clock is fast", "the judge's clock is slow"])
def test_the_clocks_of_two_hosts_do_not_order_verdicts_and_rollbacks(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, judge: type[datetime]
) -> None:
    monkeypatch.setattr("registry.gating.verdict.datetime", judge)
    record(registry, _verdict(True), who="ada")
    promote(registry, "barista", loader=SiteLoader(registry), who="ada")
    rollback(registry, "barista", loader=SiteLoader(registry), who="bob", why="callers hang up")

    with pytest.raises(PromotionRefused, match="rolled back after"):
        promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada")

    record(registry, _verdict(True), who="ada")
    assert promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada").change.moved_to == 2
