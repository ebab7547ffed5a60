"""What keeps a version, in words, and that it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from release_site import add_versions, make_site, write_seed

from parley.bundle import FAMILIES
from registry import tables as t
from registry.loading import SiteLoader
from registry.releasing.creating import create_release
from registry.releasing.holds import hold, holders, let_go, references
from registry.releasing.leases import lease
from registry.releasing.promotion import promote
from registry.releasing.seeding import mend_releases
from registry.site import Registry
from registry.writing import open_for_writing


@pytest.fixture
def registry(tmp_path: Path, database_url: str) -> Iterator[Registry]:
    with open_for_writing(make_site(tmp_path, database_url)) as opened:
        add_versions(opened, 2)
        write_seed(opened.site, dict.fromkeys(FAMILIES, 1))
        mend_releases(opened)
        yield opened


def test_a_holder_keeps_versions_until_it_lets_go(registry: Registry) -> None:
    with registry.catalogue.write() as c:
        hold(c, "experiment a", [("barista_stt", 1), ("barista_stt", 2), ("barista_stt", 2)])
        hold(c, "experiment b", [("barista_stt", 2)])
    with registry.catalogue.read() as c:
        assert holders(c, "barista_stt") == ["experiment a", "experiment b"]
        assert holders(c, "barista_stt", 1) == ["experiment a"]
    with registry.catalogue.write() as c:
        let_go(c, "experiment a")
        assert holders(c, "barista_stt") == ["experiment b"]


def test_every_reason_why_a_version_must_stay_is_named(registry: Registry) -> None:
    create_release(registry, "barista", {"tts": 2}, who="ada")
    promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="try", force=True)
    with registry.catalogue.write() as c:
        hold(c, "experiment stt-2", [("barista_stt", 1)])
        lease(c, "replica x", {("barista_stt", 1): 4})

    with registry.catalogue.read() as c:
        reasons = references(c, "barista_stt", 1)
        unneeded = references(c, "barista_stt", 2)

    assert reasons == [
        "release 1 of barista (previous)",
        "release 2 of barista (champion)",
        "experiment stt-2",
        "4 calls on replica x",
    ]
    assert unneeded == []


def test_a_retired_release_keeps_nothing(registry: Registry) -> None:
    create_release(registry, "barista", {"stt": 2}, who="ada")
    with registry.catalogue.write() as c:
        assert references(c, "barista_stt", 2) == ["release 2 of barista"]
        c.execute(t.releases.update().where(t.releases.c.number == 2).values(state="retired"))
        assert references(c, "barista_stt", 2) == []
