"""A site with signed versions that hold no real graph: for the tests of releases, aliases and what follows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from parley.bundle import FAMILIES, Manifest, TensorSpec, read_manifest, write_bundle
from parley.settings import Settings
from registry import tables as t
from registry.catalogue import VersionRow, record_version
from registry.site import Registry
from registry.versions.signing import write_pin
from registry.versions.staging import stage as stage_version

BOTS = Path(__file__).parents[2] / "bots"


def make_site(folder: Path, database_url: str = "", bot: str = "barista") -> Settings:
    """Settings of a site with one bot and nothing published."""
    (folder / "bots" / bot).mkdir(parents=True)
    (folder / "repo").mkdir()
    (folder / "bots" / bot / "bot.yaml").write_bytes((BOTS / bot / "bot.yaml").read_bytes())
    return Settings(
        bots_dir=folder / "bots", repo_dir=folder / "repo", state_dir=folder / "var", database_url=database_url,
        engine="onnx", port=0,
    )  # fmt: skip


def add_version(
    registry: Registry, stage: str, *, bot: str = "barista", files: Mapping[str, str] | None = None, **facts: Any
) -> VersionRow:
    """The next version of a stage's model, signed, known and pinned.

    ``files``: texts that it holds beside its graph. ``facts``: fields of its manifest.
    """
    model = f"{bot}_{stage}"
    with registry.catalogue.read() as c:
        query = sa.select(sa.func.count()).select_from(t.versions).where(t.versions.c.model == model)
        number = c.execute(query).scalar_one() + 1
    bundle = registry.site.state_dir / "bundles" / model / str(number)
    bundle.mkdir(parents=True)
    (bundle / "model.onnx").write_text(f"{model} {number}")
    for name, text in (files or {}).items():
        (bundle / name).write_text(text)
    tensor = [TensorSpec(name="x", dtype="FP32", dims=[1])]
    manifest = Manifest(family=stage, bot=bot, model=model, inputs=tensor, outputs=tensor, **facts)  # type: ignore[arg-type]
    write_bundle(bundle, manifest)
    directory = registry.repo / model / str(number)
    directory.mkdir(parents=True)
    staged = stage_version(
        bundle, read_manifest(bundle).model_copy(update={"version": number}), directory, registry.site
    )
    with registry.catalogue.write() as c:
        row = record_version(c, directory, staged.manifest, who="tester", key_id=staged.key_id)
    write_pin(registry.site, model, number, staged.digest)
    return row


def add_versions(registry: Registry, count: int = 1, bot: str = "barista", **facts: Any) -> None:
    """So many versions of every stage."""
    for stage in FAMILIES:
        for _ in range(count):
            add_version(registry, stage, bot=bot, **facts)


def add_verdict(
    registry: Registry, candidate: int, against: int, *, accepted: bool = True, bot: str = "barista"
) -> int:
    """What the gate writes down."""
    with registry.catalogue.write() as c:
        row = t.verdicts.insert().values(
            bot=bot, candidate=candidate, against=against, accepted=accepted, report={}, at=datetime.now(UTC),
            who="gate",
        )  # fmt: skip
        return int(c.execute(row.returning(t.verdicts.c.id)).scalar_one())


def write_seed(site: Settings, stages: Mapping[str, int], bot: str = "barista", number: int = 1) -> Path:
    """The bot's `release.json`."""
    path = site.bots_dir / bot / "release.json"
    named = {stage: {"model": f"{bot}_{stage}", "version": version} for stage, version in stages.items()}
    path.write_text(json.dumps({"number": number, "stages": named}))
    return path
