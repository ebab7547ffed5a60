"""What must be true of a release before it is made, and again before an alias may point to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from parley.bundle import Manifest
from parley.errors import ParleyError
from registry.catalogue import PUBLISHED, manifest_of, version
from registry.releasing.documents import Release
from registry.releasing.releases import dialogue_text

# Who opens the registry imports this module. YAML and the bot's grammar take a tenth of a second to import: only who
# makes a release or changes an alias pays for them, in the functions below.
if TYPE_CHECKING:
    from parley.bot import Bot


def parse_dialogue(release: Release, dialogue: str, *, taken_in: bool = True) -> Bot:
    """The dialogue that a release answers with, as replicas will read it.

    Args:
        dialogue: its bot.yaml text.
        taken_in: whether it was accepted before, maybe under fewer rules (`parley.bot.load.parse_bot`).

    Raises:
        ParleyError: today's Parley refuses it, so no replica could answer with it; says where.
    """
    from parley.bot.load import parse_bot

    return parse_bot(dialogue, f"{release}, bot.yaml", taken_in=taken_in)


def check_answerable(c: sa.Connection, release: Release) -> None:
    """Check that replicas can answer with the dialogue of a release, before an alias points to it.

    A release made by another Parley may hold what this one refuses.

    Raises:
        ParleyError: they could not; says where the dialogue is refused, and what to do.
    """
    try:
        parse_dialogue(release, dialogue_text(c, release.dialogue_digest))
    except ParleyError as error:
        raise ParleyError(
            f"this Parley cannot answer with its dialogue: {error.what}",
            where=error.where,
            mend="choose another release, or release its versions with a corrected bot.yaml: "
            "parley releases create --dialogue FILE",
        ) from None


def check_release(
    c: sa.Connection, repo: Path, release: Release, dialogue: str, *, taken_in: bool = True
) -> dict[str, Manifest]:
    """Check that every version is published as it was named, and that all fit together and with the dialogue.

    Args:
        taken_in: whether the dialogue was accepted before, maybe under fewer rules (`parley.bot.load.parse_bot`).

    Returns:
        Stage to manifest.

    Raises:
        ParleyError: says what is missing or does not fit.
    """
    from registry.releasing.fit import check_dialogue, check_fit

    check_published(c, release)
    manifests = {str(stage): manifest_of(c, ref.model, ref.version) for stage, ref in release.stages.items()}
    check_fit(manifests)
    folders = {str(stage): repo / ref.model / str(ref.version) for stage, ref in release.stages.items()}
    for stage, folder in folders.items():
        if not folder.is_dir():
            raise ParleyError(
                f"the files of the {stage} are gone", where=str(folder), mend="restore them from a backup, or pull them"
            )
    check_dialogue(parse_dialogue(release, dialogue, taken_in=taken_in), manifests, folders)
    return manifests


def check_published(c: sa.Connection, release: Release) -> None:
    """Check that every version is there, by the catalogue, and is the one the release was made of.

    Raises:
        ParleyError: a version is not known, was collected, or is another.
    """
    for stage, ref in release.stages.items():
        row = version(c, ref.model, ref.version)
        where = f"{release}, {stage}"
        if row.state != PUBLISHED:
            raise ParleyError(
                f"{ref.model} {ref.version} is {row.state}: its files are gone", where=where, mend="choose another"
            )
        if row.digest != ref.digest:
            raise ParleyError(
                f"{ref.model} {ref.version} is not the version it was made of", where=where, mend="make a new release"
            )
