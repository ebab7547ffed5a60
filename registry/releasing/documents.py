"""A release's own file, and the file that says where the aliases point: enough to make both anew without a catalogue.

    triton_repo/.releases/barista/3.json          immutable: versions with their digests, the dialogue config, who, why
    triton_repo/.releases/barista/pointers.json   a copy of where the aliases point, rewritten after each change

Triton looks at no name that begins with a dot.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from parley import names
from parley.bundle import Family
from parley.errors import ParleyError
from parley.files import write_atomic
from parley.typed import LARGEST, is_number
from registry.layout import LOCKS, file_lock, leftovers

_Document = TypeVar("_Document", bound=BaseModel)
RELEASES = ".releases"
ALIASES_FILE = "pointers.json"


def digest_of(dialogue: str) -> str:
    """The name of a dialogue config: hex SHA-256 of its text."""
    return hashlib.sha256(dialogue.encode()).hexdigest()


class StageVersion(BaseModel):
    """One published version, as a router names it."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    model: str = Field(pattern=f"^{names.MODEL}$")
    version: int = Field(ge=1, le=LARGEST)
    digest: str = ""
    """SHA-256 of its manifest.json."""


class Release(BaseModel):
    """The versions that answer a call together, and the dialogue config they answer with."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    number: int = Field(ge=1, le=LARGEST)
    bot: str = ""
    stages: dict[Family, StageVersion]
    dialogue_digest: str = ""
    """SHA-256 of the bot.yaml text."""
    at: datetime | None = None
    who: str = ""
    why: str = ""
    state: str = Field(default="kept", exclude=True)
    """``kept`` or ``retired``; known to the catalogue only, not part of the document."""

    @property
    def refs(self) -> list[tuple[str, int]]:
        """(model, version) of each stage."""
        return [(ref.model, ref.version) for ref in self.stages.values()]

    def __str__(self) -> str:
        return f"release {self.number} of {self.bot}"


class ReleaseDocument(BaseModel):
    """What a release's file holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    schema_version: int = 1
    release: Release
    dialogue: str
    """The bot.yaml text."""

    @model_validator(mode="after")
    def _whole(self) -> ReleaseDocument:
        if self.release.dialogue_digest != digest_of(self.dialogue):
            raise ValueError("the dialogue is not the one whose digest the release names")
        return self


class AliasesDocument(BaseModel):
    """What `pointers.json` holds."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    schema_version: int = 1
    bot: str
    seq: int
    champion: int | None
    candidate: int | None
    previous: int | None
    champions: list[int] = Field(default_factory=list)
    """Every release that has been champion, in the order of its last time."""
    at: datetime
    who: str
    why: str

    @field_validator("at")
    @classmethod
    def _with_zone(cls, at: datetime) -> datetime:
        if at.tzinfo is None:
            raise ValueError("a time without its zone")
        return at


def folder_of(repo: Path, bot: str) -> Path:
    """Where a bot's documents lie."""
    return repo / RELEASES / bot


def bots_with_documents(repo: Path) -> list[str]:
    """The bots that have a folder of releases, sorted."""
    root = repo / RELEASES
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def release_numbers(repo: Path, bot: str) -> list[int]:
    """Numbers of the releases that have a document, ascending."""
    folder = folder_of(repo, bot)
    if not folder.is_dir():
        return []
    return sorted(int(path.stem) for path in folder.glob("*.json") if is_number(path.stem))


def write_release(repo: Path, document: ReleaseDocument) -> Path:
    """Write a release's document in one rename and return its path."""
    path = folder_of(repo, document.release.bot) / f"{document.release.number}.json"
    with only_writer(repo, document.release.bot):
        write_atomic(path, document.model_dump_json(indent=2) + "\n")
    return path


def read_document(repo: Path, bot: str, number: int) -> ReleaseDocument:
    """A release as its document tells it.

    Raises:
        ParleyError: there is none, or it is damaged.
    """
    path = folder_of(repo, bot) / f"{number}.json"
    found = _read(path, ReleaseDocument)
    if (found.release.bot, found.release.number) != (bot, number):
        raise ParleyError(f"it holds the {found.release}", where=str(path), mend="remove it")
    return found


def read_aliases(repo: Path, bot: str) -> AliasesDocument | None:
    """Where the aliases pointed after the last change that was written down; None where there is no such file.

    Raises:
        ParleyError: it is damaged.
    """
    path = folder_of(repo, bot) / ALIASES_FILE
    return _read(path, AliasesDocument) if path.is_file() else None


def write_aliases(repo: Path, document: AliasesDocument) -> None:
    """Replace `pointers.json`, where its content differs."""
    path = folder_of(repo, document.bot) / ALIASES_FILE
    text = document.model_dump_json(indent=2) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_atomic(path, text)


def only_writer(repo: Path, bot: str) -> AbstractContextManager[bool]:
    """Be the only one who writes a bot's documents, so that an older state never replaces a newer one."""
    return file_lock(repo / LOCKS / f"{RELEASES}-{bot}.lock")


def sweep(repo: Path, bot: str) -> None:
    """Remove files that a killed command wrote half."""
    if leftovers(folder_of(repo, bot)):
        with only_writer(repo, bot):
            for path in leftovers(folder_of(repo, bot)):
                path.unlink(missing_ok=True)


def _read(path: Path, kind: type[_Document]) -> _Document:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParleyError("there is no such release", where=str(path), mend="see them with: parley releases") from None
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise ParleyError(f"damaged: {reason_of(error)}", where=str(path), mend="restore it from a backup") from None


def reason_of(error: Exception) -> str:
    """Why a file was refused, in one line that names its key."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
    return str(getattr(error, "strerror", None) or "not text")


def as_json(release: Release) -> dict[str, Any]:
    """A release for a machine."""
    found: dict[str, Any] = json.loads(release.model_dump_json())
    return found
