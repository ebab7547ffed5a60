"""Candidate, promote, roll back: what changes, what is refused and why, and what is on record afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from release_site import add_verdict, add_version, add_versions, make_site, write_seed

from parley.bundle import FAMILIES
from parley.errors import ParleyError
from registry import tables as t
from registry.catalogue import set_state
from registry.loading import SiteLoader
from registry.releasing import documents
from registry.releasing.aliases import Aliases, current_aliases, history
from registry.releasing.creating import create_release
from registry.releasing.holds import Ref, hold, let_go
from registry.releasing.promotion import PromotionRefused, promote, rollback, set_candidate
from registry.releasing.seeding import mend_releases
from registry.site import Registry
from registry.writing import open_for_writing

ALL = dict.fromkeys(FAMILIES, 1)


@pytest.fixture
def registry(tmp_path: Path, database_url: str) -> Iterator[Registry]:
    """Release 1 is champion, release 2 has another STT; the gate has said nothing yet."""
    with open_for_writing(make_site(tmp_path, database_url)) as opened:
        add_versions(opened, 2)
        write_seed(opened.site, ALL)
        mend_releases(opened)
        create_release(opened, "barista", {"stt": 2}, who="ada", why="more look-ahead")
        yield opened


def now(registry: Registry) -> Aliases:
    with registry.catalogue.read() as c:
        return current_aliases(c, "barista")


def accepted(registry: Registry, number: int, against: int) -> None:
    add_verdict(registry, number, against)


# Promote


def test_an_accepted_candidate_becomes_champion_and_the_old_one_previous(registry: Registry) -> None:
    verdict = add_verdict(registry, 2, 1)
    set_candidate(registry, "barista", 2, verdict, who="gate", why="+2 points")
    assert now(registry) == Aliases(1, 2, None, 2)

    changed = promote(registry, "barista", loader=SiteLoader(registry), who="ada", why="won the gate")

    assert now(registry) == Aliases(2, None, 1, 3)
    change = changed.change
    assert (change.what, change.moved_from, change.moved_to, change.who, change.why) == (
        "promote",
        1,
        2,
        "ada",
        "won the gate",
    )
    assert not change.forced
    written = documents.read_aliases(registry.repo, "barista")
    assert written is not None and (written.champion, written.previous, written.seq) == (2, 1, 3)


def test_without_a_candidate_there_is_nothing_to_promote(registry: Registry) -> None:
    with pytest.raises(PromotionRefused, match="no candidate.*parley gate"):
        promote(registry, "barista", loader=SiteLoader(registry), who="ada")


def test_what_the_gate_did_not_accept_is_promoted_only_by_force_and_with_a_reason(registry: Registry) -> None:
    with pytest.raises(PromotionRefused, match="nothing shows that it is better.*--force --why"):
        promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada")
    with pytest.raises(PromotionRefused, match="needs a reason"):
        promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why=" ", force=True)

    forced = promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="the gate is down", force=True)

    assert forced.change.forced and now(registry).champion == 2


@pytest.mark.parametrize(
    ("against", "verdict", "says"),
    [(1, False, "the gate refused it"), (7, True, "nothing shows that it is better")],
    ids=["refused", "against another champion"],
)
def test_a_verdict_counts_only_if_it_accepted_and_is_against_the_champion(
    registry: Registry, against: int, verdict: bool, says: str
) -> None:
    number = add_verdict(registry, 2, against, accepted=verdict)

    with pytest.raises(PromotionRefused, match=says):
        promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada")
    with pytest.raises(PromotionRefused):
        set_candidate(registry, "barista", 2, number, who="gate")


def test_a_later_refusal_takes_an_acceptance_back(registry: Registry) -> None:
    accepted(registry, 2, 1)
    add_verdict(registry, 2, 1, accepted=False)

    with pytest.raises(PromotionRefused, match="the gate refused it"):
        promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada")


def test_a_release_that_is_not_there_is_refused_with_what_there_is(registry: Registry) -> None:
    with pytest.raises(ParleyError, match=r"no release 9 \(there is: 1, 2\)"):
        promote(registry, "barista", 9, loader=SiteLoader(registry), who="ada")


def test_a_promotion_never_takes_a_stage_away(registry: Registry) -> None:
    with registry.catalogue.write() as c:
        where = (t.release_stages.c.number == 2) & (t.release_stages.c.stage == "tts")
        c.execute(t.release_stages.delete().where(where))

    with pytest.raises(PromotionRefused, match="no version for tts"):
        promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="try", force=True)


def test_a_collected_or_damaged_version_is_refused(registry: Registry) -> None:
    damaged = registry.repo / "barista_stt" / "2" / "model.onnx"
    damaged.chmod(0o644)
    damaged.write_text("something else")
    with pytest.raises(ParleyError, match=r"model.onnx"):
        promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="try", force=True)

    with registry.catalogue.write() as c:
        set_state(c, "barista_stt", 2, "collected")
    with pytest.raises(ParleyError, match="barista_stt 2 is collected"):
        promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="try", force=True)
    assert now(registry).champion == 1


def test_a_retired_release_is_refused(registry: Registry) -> None:
    with registry.catalogue.write() as c:
        c.execute(t.releases.update().where(t.releases.c.number == 2).values(state="retired"))

    with pytest.raises(PromotionRefused, match="retired"):
        promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="try", force=True)


def test_the_champion_is_not_promoted_again(registry: Registry) -> None:
    with pytest.raises(PromotionRefused, match="champion already"):
        promote(registry, "barista", 1, loader=SiteLoader(registry), who="ada", why="again", force=True)


# Experiments


def test_a_stage_that_a_live_experiment_compares_does_not_change_even_by_force(registry: Registry) -> None:
    accepted(registry, 2, 1)
    with registry.catalogue.write() as c:
        hold(c, "experiment stt-2", [("barista_stt", 1), ("barista_stt", 2)])

    for force in (False, True):
        with pytest.raises(PromotionRefused, match="experiment stt-2 is live.*parley experiment stop stt-2"):
            promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="now", force=force)

    with registry.catalogue.write() as c:
        let_go(c, "experiment stt-2")
    assert promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada").change.moved_to == 2


def test_another_stage_may_change_under_an_experiment_while_its_arms_fit(registry: Registry) -> None:
    add_version(registry, "nlu", requires={"stt.casing": "lower"})
    for casing in ("lower", "upper"):
        add_version(registry, "stt", provides={"casing": casing})
    create_release(registry, "barista", {"stt": 3}, who="ada")
    promote(registry, "barista", 3, loader=SiteLoader(registry), who="ada", why="base", force=True)
    release = create_release(registry, "barista", {"nlu": 3}, who="ada")
    with registry.catalogue.write() as c:
        hold(c, "experiment stt-4", [("barista_stt", 3), ("barista_stt", 4)])

    with pytest.raises(PromotionRefused, match="arm of a live experiment does not fit.*casing"):
        promote(registry, "barista", release.number, loader=SiteLoader(registry), who="ada", why="now", force=True)

    with registry.catalogue.write() as c:
        hold(c, "experiment stt-4", [("barista_stt", 3)])
    made = promote(registry, "barista", release.number, loader=SiteLoader(registry), who="ada", why="now", force=True)
    assert made.change.moved_to == 4


def test_an_experiment_that_starts_while_a_promotion_is_prepared_stops_it(
    registry: Registry,
) -> None:
    accepted(registry, 2, 1)

    class Meanwhile:
        def answers(self, refs: Sequence[Ref]) -> bool:
            return False

        def make_ready(self, refs: Sequence[Ref]) -> None:
            with registry.catalogue.write() as c:
                hold(c, "experiment late", [("barista_stt", 1)])

    with pytest.raises(PromotionRefused, match="experiment late is live"):
        promote(registry, "barista", 2, loader=Meanwhile(), who="ada")
    assert now(registry).champion == 1


# Roll back


def test_a_rollback_goes_to_the_previous_champion_and_not_forth_again(registry: Registry) -> None:
    promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="try", force=True)

    changed = rollback(registry, "barista", loader=SiteLoader(registry), who="bob", why="callers hang up")

    assert now(registry) == Aliases(1, None, None, 3)
    assert (changed.change.what, changed.change.moved_from, changed.change.moved_to) == ("rollback", 2, 1)
    with pytest.raises(PromotionRefused, match=r"no previous champion.*--to N.*: 2"):
        rollback(registry, "barista", loader=SiteLoader(registry), who="bob")


def test_two_rollbacks_go_two_champions_back(registry: Registry) -> None:
    create_release(registry, "barista", {"stt": 2, "tts": 2}, who="ada")
    for number in (2, 3):
        promote(registry, "barista", number, loader=SiteLoader(registry), who="ada", why="try", force=True)

    assert rollback(registry, "barista", loader=SiteLoader(registry), who="bob").change.moved_to == 2
    assert rollback(registry, "barista", loader=SiteLoader(registry), who="bob").change.moved_to == 1


def test_a_rollback_to_any_release_that_was_champion_needs_no_verdict(registry: Registry) -> None:
    create_release(registry, "barista", {"nlg": 2}, who="ada")
    create_release(registry, "barista", {"tts": 2}, who="ada")
    for number in (2, 3):
        promote(registry, "barista", number, loader=SiteLoader(registry), who="ada", why="try", force=True)

    with pytest.raises(PromotionRefused, match="never been champion.*: 1, 2"):
        rollback(registry, "barista", 4, loader=SiteLoader(registry), who="bob")
    rollback(registry, "barista", 1, loader=SiteLoader(registry), who="bob")

    assert now(registry).champion == 1


def test_what_was_rolled_back_needs_a_new_verdict(registry: Registry) -> None:
    accepted(registry, 2, 1)
    promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada")
    rollback(registry, "barista", loader=SiteLoader(registry), who="bob", why="callers hang up")

    with pytest.raises(PromotionRefused, match="rolled back after.*bob: callers hang up"):
        promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada")

    accepted(registry, 2, 1)
    assert promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada").change.moved_to == 2


def test_a_rollback_is_not_held_up_by_an_experiment_but_says_that_it_goes_on(registry: Registry) -> None:
    promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="try", force=True)
    with registry.catalogue.write() as c:
        hold(c, "experiment stt-2", [("barista_stt", 1), ("barista_stt", 2)])

    changed = rollback(registry, "barista", loader=SiteLoader(registry), who="bob", why="callers hang up")

    assert now(registry).champion == 1
    (warning,) = changed.warnings
    assert "stt-2" in warning and "parley experiment stop stt-2" in warning


def test_a_rollback_to_a_damaged_version_is_refused(registry: Registry) -> None:
    promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="try", force=True)
    (registry.repo / "barista_stt" / "1" / "added.txt").write_text("?")

    with pytest.raises(ParleyError, match="added.txt"):
        rollback(registry, "barista", loader=SiteLoader(registry), who="bob")
    assert now(registry).champion == 2


# Record


def test_moves_cannot_be_rewritten(registry: Registry) -> None:
    with registry.catalogue.read() as c, pytest.raises(sa.exc.IntegrityError, match="append-only"):
        c.execute(t.alias_changes.update().values(champion=2))


def test_many_at_once_move_one_after_the_other(registry: Registry) -> None:
    for _ in range(3):
        create_release(registry, "barista", {"stt": 2}, who="ada")

    def attempt(number: int) -> None:
        promote(registry, "barista", number, loader=SiteLoader(registry), who=f"w{number}", why="race", force=True)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(attempt, (2, 3, 4, 5)))

    with registry.catalogue.read() as c:
        changes = history(c, "barista")
    assert [change.seq for change in changes] == [1, 2, 3, 4, 5]
    assert all(later.previous == earlier.champion for earlier, later in zip(changes, changes[1:], strict=False))
    written = documents.read_aliases(registry.repo, "barista")
    assert written is not None and (written.seq, written.champion) == (5, changes[-1].champion)


@pytest.mark.parametrize(("who", "why"), [("w" * 129, ""), ("ada", "y" * 1001)])
def test_a_note_that_does_not_fit_is_refused(registry: Registry, who: str, why: str) -> None:
    with pytest.raises(ParleyError, match="too long"):
        rollback(registry, "barista", loader=SiteLoader(registry), who=who, why=why)
