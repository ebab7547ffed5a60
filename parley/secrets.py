"""What only a site itself may know: read where it is needed, and never part of what travels.

    site = settings()
    site.read_secrets().control_token

Each is a variable ``PARLEY_<NAME>``, or a line ``PARLEY_<NAME>=VALUE`` of the file that ``PARLEY_SECRETS_FILE`` names,
which only its owner may read. `Settings` holds none of them, so that it may go into logs, and to other processes; these
read their own environment. Not here because they are read by those they are for: the signing key (a file that
``PARLEY_SIGNING_KEY`` names), credentials of a shared repository (``AWS_…``), ``WANDB_API_KEY``, ``~/.pgpass``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

from parley.errors import ParleyError

PREFIX = "PARLEY_"
_ADDRESS = re.compile(r"(?P<before>[\w+]+://[^:/@]*):(?P<password>[^@]*)@")
"""An address with a password, read as SQLAlchemy reads it."""
_IN_QUERY = re.compile(r"[?&](ssl)?password=", re.IGNORECASE)
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSPHRASE|CREDENTIAL|DATABASE_URL", re.IGNORECASE)


@dataclass(frozen=True, repr=False)
class Secrets:
    """The secrets of a site; empty where it has none. They are neither shown nor pickled."""

    triton_control_key: str = ""
    """Key that opens model control of the server at ``triton_grpc``; our own needs none."""
    control_token: str = ""
    """Bearer token of the REST routes that change something; empty closes them."""
    site_token: str = ""
    """Lets a gateway open calls: ``Authorization: Bearer TOKEN``, or ``/twilio/TOKEN``. ``parley call`` sends it."""
    twilio_auth_token: str = ""
    """Auth token of the Twilio account, which signs the streams it opens; two, separated by a comma, while it changes.

    With neither this nor ``site_token`` anybody may open a call, and the site listens on loopback only."""
    pseudonym_key: str = ""
    """Key of the callers' pseudonyms; empty makes one in ``state_dir``."""
    database_password: str = ""
    """Password of the database; also that of ``PARLEY_DATABASE_URL``, where it holds one."""

    @classmethod
    def read(cls, file: Path | None = None, environment: Mapping[str, str] = os.environ) -> Secrets:
        """The secrets of the environment and, where that has none, of the file.

        Raises:
            ParleyError: the file cannot be read, others may read it, or a line of it is none.
        """
        found = (_of_file(file) if file is not None else {}) | {name: v for name, v in environment.items() if v}
        values = {name: found[variable] for name, variable in _VARIABLES.items() if variable in found}
        _, password = split_password(environment.get(f"{PREFIX}DATABASE_URL", ""))
        if password:
            values.setdefault("database_password", password)
        return cls(**values)

    @property
    def knows_callers(self) -> bool:
        """Whether a call has to show a proof, so that the site may be reached from other machines."""
        return bool(self.site_token or self.twilio_auth_token)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(f.name for f in fields(self) if getattr(self, f.name))})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets do not travel: read them where they are needed")


_VARIABLES = {field.name: PREFIX + field.name.upper() for field in fields(Secrets)}
VARIABLES = frozenset(_VARIABLES.values())
"""The variables that hold secrets and nothing else."""


def split_password(address: str) -> tuple[str, str]:
    """An address without its password, and the password.

    Raises:
        ParleyError: the password stands among the parameters.
    """
    if _IN_QUERY.search(address):
        raise ParleyError(
            "a password among the parameters of an address",
            where="PARLEY_DATABASE_URL",
            mend="set PARLEY_DATABASE_PASSWORD, or write it into ~/.pgpass",
        )
    found = _ADDRESS.match(address)
    if found is None:
        return address, ""
    return found["before"] + address[found.end() - 1 :], unquote(found["password"])


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for a process that has no business with secrets, Parley's or others': by their names."""
    return {name: value for name, value in environment.items() if not _SECRET_NAME.search(name)}


def _of_file(path: Path) -> dict[str, str]:
    try:
        open_to_others = path.stat().st_mode & 0o077
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        detail = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ParleyError(f"cannot be read: {detail}", where=str(path), mend="see PARLEY_SECRETS_FILE") from None
    if open_to_others:
        raise ParleyError("others may read these secrets", where=str(path), mend=f"chmod 600 {path}")
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if not equals or name not in VARIABLES:
            known = ", ".join(sorted(VARIABLES))
            raise ParleyError("no secret of Parley", where=f"{path}:{number}", mend=f"NAME=VALUE with one of {known}")
        found[name] = value
    return found
