"""``parley show MODEL [N]``: what is known about a version, who needs it, and whether its files are as signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parley.arguments import ArgumentParser
from parley.files import readable_json
from parley.settings import settings
from parley.table import aligned
from parley.typed import version_number

if TYPE_CHECKING:
    from registry.description import Description


def main(argv: list[str]) -> int:
    """Print a version's record, its card or both as JSON."""
    parser = ArgumentParser(prog="parley show", description=__doc__)
    parser.add_argument("model", help="a model (barista_stt), or a family (stt) where one bot has it")
    parser.add_argument("number", type=version_number, nargs="?", help="default: the newest")
    parser.add_argument("--bot", help="whose, where several bots have the family")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--card", action="store_true", help="the model card, as Markdown")
    form.add_argument("--json", action="store_true", help="everything, for a machine")
    args = parser.parse_args(argv)

    from registry.description import describe
    from registry.reading import open_for_reading
    from registry.resolve import resolve_model
    from registry.versions.card import model_card

    with open_for_reading(settings()) as registry:
        found = describe(registry, resolve_model(registry, args.model, args.bot), args.number)
    if args.json:
        print(readable_json(found.as_json()))
    elif args.card:
        print(model_card(found.manifest), end="")
    else:
        print(_text(found))
    return 0


def _text(found: Description) -> str:
    from registry.versions.card import flatten, limits, show_value, slices

    row, lineage = found.row, found.manifest.lineage
    said = f", because: {found.why}" if found.why else ""
    dirty = ", with uncommitted changes" if lineage.git_dirty else ""
    facts = [
        ("state", row.state),
        ("published", f"{row.published_at:%Y-%m-%d %H:%M} UTC by {row.published_by}{said}"),
        ("verified", "yes, signature and every file" if found.verified else f"NO: {found.problem}"),
        ("signed with", f"{row.key_id[:12]} ({found.key or 'a key this site does not trust'})"),
        ("digest", row.digest),
        ("size", f"{row.size_bytes / 1e6:.1f} MB in {len(found.manifest.files) + 2} files"),
        ("needed by", "; ".join(found.references) or "nobody"),
        ("data", f"{row.dataset_digest or 'no digest'}; licence: {found.manifest.data_licence or 'not stated'}"),
        ("commit", f"{lineage.git_commit or 'not stated'}{dirty}, seed {lineage.seed}"),
        *(("wandb", f"{kind} {name}") for kind, name in sorted(lineage.tracking.items())),
    ]
    parameters = [(name, show_value(value)) for name, value in flatten(lineage.params).items()]
    figures = [
        (name, figure, show_value(value))
        for name, part in slices(found.manifest.evaluation)
        for figure, value in part.items()
    ]
    parts = [f"{row.model} {row.number}", aligned(facts)]
    parts += ["\nparameters", aligned(parameters)] if parameters else []
    parts += ["\nevaluation", aligned(figures)] if figures else []
    parts += ["\nlimits", *(f"  {limit}" for limit in limits(found.manifest))]
    return "\n".join(parts)
