"""``parley diff MODEL A B``: what changed between two versions."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from parley.arguments import ArgumentParser
from parley.files import readable_json
from parley.settings import settings
from parley.table import aligned
from parley.typed import version_number

if TYPE_CHECKING:
    from registry.versions.difference import Change, Data, Difference

_NAMED_AT_MOST = 5


def main(argv: list[str]) -> int:
    """Print what differs."""
    parser = ArgumentParser(prog="parley diff", description=__doc__)
    parser.add_argument("model", help="a model (barista_stt), or a family (stt) where one bot has it")
    parser.add_argument("before", type=version_number)
    parser.add_argument("after", type=version_number)
    parser.add_argument("--bot", help="whose, where several bots have the family")
    parser.add_argument("--json", action="store_true", help="everything, each utterance too, for a machine")
    args = parser.parse_args(argv)

    from registry.catalogue import manifest_of
    from registry.lineage import utterances
    from registry.reading import open_for_reading
    from registry.resolve import resolve_model
    from registry.versions.difference import difference

    with open_for_reading(settings()) as registry:
        model = resolve_model(registry, args.model, args.bot)
        with registry.catalogue.read() as c:
            manifests = [manifest_of(c, model, number) for number in (args.before, args.after)]
            learned = [
                [(row.sha256, row.split) for row in utterances(c, model, number)]
                for number in (args.before, args.after)
            ]
    found = difference(manifests[0], manifests[1], learned[0], learned[1])
    if args.json:
        print(readable_json({**asdict(found), "same_data": found.same_data}))
    else:
        print(_text(found))
    return 0


def _text(found: Difference) -> str:
    sections = (
        ("figures", [*_rows(found.figures), *_caution(found)]),
        ("parameters", _rows(found.parameters)),
        ("contract", _rows(found.contract)),
        ("data", _data(found.data)),
        ("origin", _rows(found.origin)),
        ("files", _rows(found.files)),
        ("environment", _rows(found.environment)),
    )
    parts = [f"{found.before} -> {found.after}"]
    for title, rows in sections:
        parts += [f"\n{title}", aligned(rows)] if rows else []
    return "\n".join(parts if len(parts) > 1 else [*parts, "\nnothing differs"])


def _rows(changes: list[Change]) -> list[tuple[str, ...]]:
    from registry.versions.card import show_value

    def value(of: object) -> str:
        text = show_value(of)
        return text[:12] if len(text) == 64 and text.isalnum() else text

    return [(each.name, value(each.before), "->", value(each.after), each.direction) for each in changes]


def _caution(found: Difference) -> list[tuple[str, ...]]:
    if found.same_data or not found.figures:
        return []
    return [("They were measured on different data; `parley gate` compares on the same.",)]


def _data(data: Data) -> list[tuple[str, ...]]:
    if not data.known:
        return [("one of them does not say which utterances it learned from",)]
    if not (data.added or data.removed or data.moved):
        return []
    rows: list[tuple[str, ...]] = [(f"{len(data.added)} added, {len(data.removed)} removed, {data.shared} in both",)]
    for sign, utterances in (("+", data.added), ("-", data.removed)):
        rows += [(f"{sign} {utterance}",) for utterance in utterances[:_NAMED_AT_MOST]]
        if len(utterances) > _NAMED_AT_MOST:
            rows.append((f"{sign} … {len(utterances) - _NAMED_AT_MOST} more (--json lists them)",))
    if data.moved:
        rows.append((f"{len(data.moved)} in another split, the first: {data.moved[0].utterance}",))
    return rows
