"""Whether versions can answer one call together.

A version says in its manifest what it provides (``{"casing": "lower"}``) and what it requires of the others
(``{"stt.casing": "lower"}``). Both are bound by its signature, so nobody can talk a version into fitting.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from parley.bot import Bot
from parley.bundle import FAMILIES, Manifest
from parley.errors import ParleyError
from parley.implementation import FIRST


class DoesNotFit(ParleyError):
    """Versions that must not answer one call together."""


def check_fit(manifests: Mapping[str, Manifest]) -> None:
    """Check that these versions, by stage, belong to one bot and give each other what they need.

    A stage that is not there is not asked: a release with fewer stages can fit.

    Raises:
        DoesNotFit: names the version, what it needs and what it would get.
    """
    for stage, manifest in manifests.items():
        if stage not in FAMILIES or manifest.family != stage:
            raise DoesNotFit(f"a {manifest.family} version cannot be the {stage}", where=_name(manifest))
    _check_same(manifests, "bot", {stage: manifest.bot for stage, manifest in manifests.items()})
    languages = {stage: str(m.constants["language"]) for stage, m in manifests.items() if "language" in m.constants}
    _check_same(manifests, "language", languages)
    for manifest in manifests.values():
        for need, wanted in manifest.requires.items():
            _check_need(manifest, need, wanted, manifests)


def check_pairs(alternatives: Mapping[str, Sequence[Manifest]]) -> None:
    """Check every combination of versions that experiments may draw: `alternatives` has one or more per stage.

    What a version requires concerns one other stage, so it is enough that all pairs fit.

    Raises:
        DoesNotFit: names the pair's trouble.
    """
    stages = list(alternatives)
    for index, one in enumerate(stages):
        for other in stages[index + 1 :]:
            for left in alternatives[one]:
                for right in alternatives[other]:
                    check_fit({one: left, other: right})


def check_dialogue(bot: Bot, manifests: Mapping[str, Manifest], folders: Mapping[str, Path]) -> None:
    """Check that the dialogue asks for nothing the NLU and NLG never learned.

    Args:
        bot: the dialogue config of the release.
        folders: stage to the version's directory, for those whose manifest's constants do not tell.

    Raises:
        DoesNotFit: names the bot, or the intents or acts that are not known.
    """
    for manifest in manifests.values():
        if manifest.bot != bot.name:
            raise DoesNotFit(f"it was made for the bot {manifest.bot}, not {bot.name}", where=_name(manifest))
    for stage, what, wanted in (("nlu", "intents", set(bot.intents)), ("nlg", "acts", set(bot.required_acts()))):
        if stage not in manifests:
            continue
        known = _learned(manifests[stage], what, folders.get(stage))
        if known is not None and (missing := sorted(wanted - known)):
            raise DoesNotFit(
                f"the dialogue names {what} it never learned: {', '.join(missing)}",
                where=_name(manifests[stage]),
                mend=f"train a {stage} on this bot.yaml, or release the dialogue it was trained on",
            )


def _learned(manifest: Manifest, what: str, folder: Path | None) -> set[str] | None:
    """The intents or acts a version knows: by its constants, else by the file that the family's first implementation
    reads; None: cannot tell."""
    if what in manifest.constants:
        return set(_names(manifest.constants[what]))
    file, key = {"intents": ("labels.json", "intents"), "acts": ("bot.json", "replies")}[what]
    if folder is None or manifest.read_by != FIRST[manifest.family] or file not in manifest.files:
        return None
    try:
        found = json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # a damaged file is found by its digest, which is another check
    return set(_names(found[key])) if isinstance(found, dict) and key in found else None


def _names(found: Any) -> Iterator[str]:
    return (str(name) for name in found) if isinstance(found, Mapping | list | tuple) else iter(())


def _check_same(manifests: Mapping[str, Manifest], what: str, values: Mapping[str, str]) -> None:
    if len(set(values.values())) > 1:
        told = ", ".join(f"{_name(manifests[stage])} {value}" for stage, value in values.items())
        raise DoesNotFit(f"the versions are not of one {what}: {told}", where=what)


def _check_need(manifest: Manifest, need: str, wanted: str, manifests: Mapping[str, Manifest]) -> None:
    stage, _, name = need.partition(".")
    if stage not in FAMILIES or not name:
        raise DoesNotFit(f"it requires {need!r}, which names no stage", where=_name(manifest), mend="export it again")
    if stage not in manifests:
        return
    given = manifests[stage].provides.get(name)
    if given != wanted:
        gets = f"provides {given!r}" if given is not None else "does not say what it provides"
        raise DoesNotFit(
            f"it needs {need} = {wanted!r}, but {_name(manifests[stage])} {gets}",
            where=_name(manifest),
            mend=f"release it with a {stage} version that provides {name} = {wanted!r}",
        )


def _name(manifest: Manifest) -> str:
    return f"{manifest.model} {manifest.version}" if manifest.version else manifest.model
