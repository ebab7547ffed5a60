"""Settings of a site, read from ``PARLEY_*`` environment variables: the only place that reads them."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from parley.errors import ParleyError

if TYPE_CHECKING:
    import sqlalchemy as sa

PREFIX = "PARLEY_"
DATABASE = "parley.db"
_FOR_TESTS = f"{PREFIX}TEST_"
_AS_GOOD_AS = 0.8
"""From this likeness on (`difflib`), an unknown name is a known one mistyped."""
_told: set[str] = set()


class Settings(BaseModel):
    """Everything a site may choose; each field is the variable ``PARLEY_<FIELD>``."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

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
    triton_control_key: str = Field(default="", repr=False)
    """Key that opens model control of the server at ``triton_grpc``; our own needs none."""
    control_token: str = Field(default="", repr=False)
    """Bearer token of the REST routes that change something; empty closes them."""
    site_token: str = Field(default="", repr=False)
    """Lets a gateway open calls: ``Authorization: Bearer TOKEN``, or ``/twilio/TOKEN``. ``parley call`` sends it."""
    twilio_auth_token: str = Field(default="", repr=False)
    """Auth token of the Twilio account, which signs the streams it opens; two, separated by a comma, while it changes.

    With neither this nor ``site_token`` anybody may open a call, and the site listens on loopback only."""
    public_url: str = ""
    """``wss://voice.example.com``: what Twilio was told to open, up to the path, where a proxy stands in front."""
    allowed_origins: str = ""
    """Web pages that may open calls, separated by commas: ``https://demo.example.com``."""
    database_url: str = Field(default="", repr=False)
    """Catalogue, releases and experiments: ``postgresql+psycopg://…``; empty is SQLite in ``state_dir``."""
    trusted_keys_dir: Path = Path("keys")
    """Public keys (``*.pem``) whose signatures this site accepts, beside its own."""
    signing_key: Path | None = None
    """Private key that signs what this site publishes; empty makes one in ``state_dir``."""
    shared_repo: str = Field(default="", repr=False)
    """Where sites exchange versions: an fsspec address, ``s3://bucket/folder`` or a folder; empty for none."""
    user: str = ""
    """Who acts, for the audits; empty is the login."""
    pseudonym_key: str = Field(default="", repr=False)
    """Key of the callers' pseudonyms; empty makes one in ``state_dir``."""
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

    @field_validator("bots_dir", "repo_dir", "state_dir", "trusted_keys_dir", "signing_key")
    @classmethod
    def _home(cls, path: Path | None) -> Path | None:
        """``~`` is the home, also where no shell has replaced it: in a unit file or in quotes."""
        try:
            return path.expanduser() if path is not None else None
        except RuntimeError:
            raise ValueError("there is no such home folder") from None

    @property
    def knows_callers(self) -> bool:
        """Whether a call has to show a proof, so that the site may be reached from other machines."""
        return bool(self.site_token or self.twilio_auth_token)


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
    found.update({k: v for k, v in overrides.items() if v is not None})
    try:
        return Settings(**found)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise ParleyError(
            f"{first['msg']} (got {first['input']!r})", where=name, mend="unset it or give it such a value"
        ) from None


def _check_names() -> None:
    """A mistyped variable is refused, because the site would run without it; a stranger is mentioned once."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
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
    """The address of the site's database."""
    if site.database_url:
        return site.database_url
    from sqlalchemy import URL  # not for who needs only settings

    # Not a text: a folder's name may hold what means something in an address.
    return URL.create("sqlite", database=str(Path(site.state_dir) / DATABASE))
