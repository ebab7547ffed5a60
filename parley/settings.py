"""Settings of a site, read from ``PARLEY_*`` environment variables: with `parley.secrets` the only place that does."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from parley.errors import ParleyError
from parley.secrets import PREFIX, VARIABLES, Secrets, split_password

if TYPE_CHECKING:
    import sqlalchemy as sa

DATABASE = "parley.db"
_FOR_TESTS = f"{PREFIX}TEST_"
_AS_GOOD_AS = 0.8
"""From this likeness on (`difflib`), an unknown name is a known one mistyped."""
_ADDRESSES = ("DATABASE_URL", "SHARED_REPO")
"""What may hold a password that does not belong there: never said again."""
_told: set[str] = set()


class Settings(BaseModel):
    """Everything a site may choose; each field is the variable ``PARLEY_<FIELD>``. It holds no secret (see
    `parley.secrets`), for it goes into logs and to other processes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    bots_dir: Path = Path("bots")
    """Folder of the bots, one folder each with a ``bot.yaml``."""
    repo_dir: Path = Path("triton_repo")
    """The Triton model repository."""
    state_dir: Path = Path("var")
    """What a running site writes: databases, logs, calls."""
    engine: Literal["triton", "onnx"] = "triton"
    """``triton`` (gRPC) or ``onnx`` (ONNX Runtime in this process, on the same repository)."""
    triton_grpc: str = ""
    """``host:port`` of a running Triton; empty starts one of our own on loopback."""
    public_url: str = ""
    """``wss://voice.example.com``: what Twilio was told to open, up to the path, where a proxy stands in front."""
    allowed_origins: str = ""
    """Web pages that may open calls, separated by commas: ``https://demo.example.com``."""
    database_url: str = ""
    """Catalogue, releases and experiments: ``postgresql+psycopg://…``, without the password, which is a secret; empty
    is SQLite in ``state_dir``."""
    trusted_keys_dir: Path = Path("keys")
    """Public keys (``*.pem``) whose signatures this site accepts, beside its own."""
    secrets_file: Path | None = None
    """Where secrets lie that are not in the environment (`parley.secrets`); only its owner may read it."""
    signing_key: Path | None = None
    """File of the private key that signs what this site publishes; empty makes one in ``state_dir``."""
    shared_repo: str = ""
    """Where sites exchange versions: an fsspec address, ``s3://bucket/folder`` or a folder; empty for none."""
    user: str = ""
    """Who acts, for the audits; empty is the login."""
    region: str = Field(default="", pattern=r"^([A-Z]{2})?$")
    """Country (ISO 3166: ``DE``) of callers whose number names none; empty takes such numbers as they are."""
    host: str = "127.0.0.1"
    port: int = Field(default=8600, ge=0, le=65535)
    end_of_turn_ms: int = Field(default=400, ge=100, le=3000)
    """Silence that ends a caller's turn."""
    no_input_s: float = Field(default=6.0, gt=0)
    """Silence after which the bot asks again."""
    max_calls: int = Field(default=40, ge=1)
    """Calls that one replica takes at most; how many fit, and are not refused with 503, it learns from its own lag."""
    answer_within_ms: int = Field(default=800, ge=200)
    """Within this time of the caller's last word the bot should answer; calls that would make it later are refused."""
    max_call_s: float = Field(default=900.0, gt=0)
    stage_timeout_s: float = Field(default=2.0, gt=0)
    log_transcripts: bool = False
    """Whether logs may hold what a caller said. Off: logs carry call ids and figures only."""

    @field_validator("bots_dir", "repo_dir", "state_dir", "trusted_keys_dir", "secrets_file", "signing_key")
    @classmethod
    def _home(cls, path: Path | None) -> Path | None:
        """``~`` is the home, also where no shell has replaced it: in a unit file or in quotes."""
        try:
            return path.expanduser() if path is not None else None
        except RuntimeError:
            raise ValueError("there is no such home folder") from None

    @field_validator("database_url", "shared_repo")
    @classmethod
    def _no_password(cls, address: str) -> str:
        try:
            _, password = split_password(address)
        except ParleyError as error:
            raise ValueError(error.what) from None
        if password:
            raise ValueError("an address with a password in it")
        return address

    def read_secrets(self) -> Secrets:
        """The site's secrets, read now. Keep the one you need, not all of them.

        Raises:
            ParleyError: `secrets_file` cannot be used.
        """
        return Secrets.read(self.secrets_file)


def words(text: str) -> list[str]:
    """The parts of a setting that are separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def settings(**overrides: Any) -> Settings:
    """Read the environment afresh; keyword arguments win over it.

    Raises:
        ParleyError: a variable holds a value of the wrong kind, or its name is a setting's mistyped.
    """
    _check_names()
    found: dict[str, Any] = {}
    for name in Settings.model_fields:
        value = os.environ.get(PREFIX + name.upper())
        if value:
            found[name] = value
    # The one address that may come with a password: who opens the database reads it again (`database_url`).
    found["database_url"], _ = split_password(found.get("database_url", ""))
    found.update({k: v for k, v in overrides.items() if v is not None})
    try:
        return Settings(**found)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        given = "" if name.endswith(_ADDRESSES) else f" (got {first['input']!r})"
        raise ParleyError(f"{first['msg']}{given}", where=name, mend="unset it or give it such a value") from None


def _check_names() -> None:
    """A mistyped variable is refused, because the site would run without it; a stranger is mentioned once."""
    known = VARIABLES | {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(os.environ):
        if not name.startswith(PREFIX) or name.startswith(_FOR_TESTS) or name in known or not os.environ[name]:
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=_AS_GOOD_AS)
        if near:
            raise ParleyError("there is no such setting", where=name, mend=f"did you mean {near[0]}? Else unset it")
        if name not in _told:
            _told.add(name)
            print(f"note: {name} is no setting of Parley and does nothing", file=sys.stderr)


def database_url(site: Settings) -> str | sa.URL:
    """The address of the site's database, with its password: for who opens it, and for nobody else.

    Raises:
        ParleyError: the site's secrets cannot be read.
    """
    from sqlalchemy import URL, make_url  # not for who needs only settings

    if not site.database_url:
        # Not a text: a folder's name may hold what means something in an address.
        return URL.create("sqlite", database=str(Path(site.state_dir) / DATABASE))
    password = site.read_secrets().database_password
    return make_url(site.database_url).set(password=password) if password else site.database_url
