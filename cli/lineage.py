"""``parley lineage MODEL N``: where a version comes from. ``--utterance X``: which versions heard it. ``--subject P``:
which dataset rows came of a person, and which versions hold them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from parley.arguments import ArgumentParser
from parley.errors import ParleyError
from parley.files import readable_json
from parley.names import is_pseudonym
from parley.settings import settings
from parley.table import aligned
from parley.typed import version_number

if TYPE_CHECKING:
    from registry.lineage import Origin, Use
    from registry.site import Registry


def main(argv: list[str]) -> int:
    """Print the lineage of a version, or the versions that an utterance or a person went into."""
    parser = ArgumentParser(prog="parley lineage", description=__doc__)
    parser.add_argument("model", nargs="?", help="a model, or a family where one bot has it: stt")
    parser.add_argument("number", nargs="?", type=version_number, help="the version")
    parser.add_argument("--bot", help="whose family")
    parser.add_argument("--utterances", action="store_true", help="list them: SHA-256, name, split")
    parser.add_argument("--split", help="only this split's: train, dev, valid, test")
    parser.add_argument("--utterance", metavar="SHA256|FILE", help="which versions learned from this one?")
    parser.add_argument("--subject", metavar="PSEUDONYM", help="which rows and versions hold what this person said?")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.utterance is None and args.subject is None and args.number is None:
        mend = "parley lineage stt 3, or --utterance FILE, or --subject PSEUDONYM"
        raise ParleyError("which version?", where="parley lineage", mend=mend)

    from registry.reading import open_for_reading

    with open_for_reading(settings()) as registry:
        if args.subject is not None:
            return _of_subject(registry, args.subject, args.json)
        if args.utterance is not None:
            return _of_utterance(registry, args.utterance, args.json)
        return _of_version(registry, args)


def _of_version(registry: Registry, args: argparse.Namespace) -> int:
    from registry.lineage import origin, utterances
    from registry.resolve import resolve_model

    model = resolve_model(registry, args.model, args.bot)
    with registry.catalogue.read() as c:
        found = origin(c, model, args.number)
        listed = utterances(c, model, args.number, args.split) if args.utterances else []
    if args.json:
        shown = _as_json(found)
        print(readable_json(shown | ({"utterances": [asdict(u) for u in listed]} if args.utterances else {})))
    elif args.utterances:
        print("\n".join(f"{u.sha256}\t{u.id}\t{u.split}" for u in listed))
    else:
        print(aligned(_facts(found), indent=""))
    return 0


def _as_json(found: Origin) -> dict[str, object]:
    row = asdict(found.version) | {"published_at": found.version.published_at.isoformat()}
    lineage = found.manifest.lineage.model_dump()
    return {**row, "lineage": lineage, "licence": found.manifest.data_licence, "splits": found.splits}


def _facts(found: Origin) -> list[tuple[str, str]]:
    row, lineage = found.version, found.manifest.lineage
    commit = f"{lineage.git_commit or 'unknown'}{' and changes nobody committed' if lineage.git_dirty else ''}"
    splits = ", ".join(f"{split} {count}" for split, count in found.splits.items())
    return [
        ("version", f"{row.model} {row.number}, {row.state}"),
        ("published", f"{row.published_at:%Y-%m-%d %H:%M} UTC by {row.published_by}"),
        ("digest", row.digest),
        ("signed by key", row.key_id),
        ("dataset", lineage.dataset_digest or "not recorded"),
        ("utterances", splits or "not listed in this version"),
        ("licence", found.manifest.data_licence or "not recorded"),
        ("bot.yaml", lineage.bot_digest or "not recorded"),
        ("code", commit),
        ("seed", str(lineage.seed)),
        *((f"  {key}", json.dumps(value, ensure_ascii=False)) for key, value in sorted(lineage.params.items())),
        *((f"  {key}", value) for key, value in sorted(lineage.environment.items())),
    ]


def _of_utterance(registry: Registry, given: str, as_json: bool) -> int:
    from registry.lineage import TRAIN, uses, utterance_digests

    digests = utterance_digests(given)
    with registry.catalogue.read() as c:
        found = uses(c, digests)
    if as_json:
        print(readable_json([_use_as_json(use) for use in found]))
        return 0
    if not found:
        print(f"no version knows this utterance (asked for: {', '.join(digests)})")
        return 0
    print(aligned(_table(sorted(found, key=lambda use: use.split != TRAIN)), indent=""))
    learned = sum(use.split == TRAIN for use in found)
    print(f"{learned} learned from it; the others were chosen or measured by it")
    return 0


def _of_subject(registry: Registry, given: str, as_json: bool) -> int:
    from calls.subjects import references, rows_in_versions_of

    if not is_pseudonym(given):
        mend = "give 64 hex digits, as `calls` and `subjects` have them; a number belongs on no command line"
        raise ParleyError("no pseudonym", where="--subject", mend=mend)
    with registry.catalogue.read() as c:
        rows = [one.reference for one in references(c, given) if one.kind == "dataset_row"]
        found = rows_in_versions_of(c, given)
    if as_json:
        print(readable_json({"rows": rows, "versions": [_use_as_json(use) for use in found]}))
        return 0
    if found:
        print(aligned(_table(found), indent=""))
    versions = {(use.version.model, use.version.number) for use in found}
    print(f"{len(rows)} dataset rows came of this person, {len(versions)} versions hold some of them")
    return 0


def _table(uses: Sequence[Use]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("version", "state", "split", "utterance", "dataset")]
    for use in uses:
        row = use.version
        rows.append((f"{row.model} {row.number}", row.state, use.split, use.id, row.dataset_digest[:12]))
    return rows


def _use_as_json(use: Use) -> dict[str, object]:
    row = use.version
    return {
        "model": row.model, "number": row.number, "state": row.state, "dataset": row.dataset_digest,
        "split": use.split, "id": use.id, "sha256": use.sha256,
    }  # fmt: skip
