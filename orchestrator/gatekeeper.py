"""Who may open a call: its proof, looked at before the upgrade.

    keeper = Gatekeeper.of(settings, wire)
    visitor = keeper.look(headers, raw_path, query)       # Refused, or what the caller may do

A site with no secret listens on loopback only (`start_app` sees to it) and takes everybody. With one, a call shows
either

- its wire's own proof, where that has one (Twilio's signature: :mod:`orchestrator.wires.twilio.signature`);
- or the site's token: ``Authorization: Bearer TOKEN``, or the last part of the path, ``/twilio/TOKEN``, for gateways
  that can send no headers.

A browser names the page that opens a socket in ``Origin``; a gateway does not. What a page of somebody else's opens
from within the user's network is refused, secret or not.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.wires.contract import Proof, Wire
from parley.errors import ParleyError
from parley.settings import Settings, words

ORIGIN, AUTHORIZATION = "origin", "authorization"


class Refused(ParleyError):
    """This caller may not open a call. ``status`` is the HTTP status."""

    def __init__(self, what: str, *, status: int, mend: str = "") -> None:
        self.status = status
        super().__init__(what, mend=mend)


@dataclass(frozen=True)
class Visitor:
    """Somebody who may open a call."""

    may_trace: bool
    """Whether the call may ask to be told what the bot hears and means: the site's own callers, never a carrier."""


class Gatekeeper:
    """Compares in constant time, and keeps digests where it can.

    Args:
        token: the site's; empty for none.
        proof: the wire's own; None for none.
        origins: pages that may open a call.
        secured: whether a call has to show something; None: where there is something to show.
    """

    def __init__(
        self, token: str = "", proof: Proof | None = None, origins: Iterable[str] = (), *, secured: bool | None = None
    ) -> None:
        self._token = _digest(token) if token else None
        self._proof = proof
        self._origins = {origin.rstrip("/").lower() for origin in origins}
        self._secured = bool(token or proof) if secured is None else secured

    @classmethod
    def of(cls, site: Settings, wire: Wire) -> Gatekeeper:
        """The gatekeeper of one wire, as the settings describe it.

        Raises:
            ParleyError: the site's secrets cannot be read.
        """
        secrets = site.read_secrets()
        origins = words(site.allowed_origins)
        return cls(secrets.site_token, wire.proof(site), origins, secured=secrets.knows_callers)

    def look(self, headers: Mapping[str, str], path: str, query: str = "", path_token: str = "") -> Visitor:
        """Who asks, by the headers (their names in lower case) and the raw path of his request.

        Raises:
            Refused: 403, a page that is not allowed; 401, no proof or a wrong one.
        """
        origin = headers.get(ORIGIN)
        if origin is not None and origin.rstrip("/").lower() not in self._origins:
            raise Refused("this page may not open calls", status=403, mend="name it in PARLEY_ALLOWED_ORIGINS")
        if not self._secured:
            return Visitor(may_trace=True)
        scheme, _, bearer = headers.get(AUTHORIZATION, "").partition(" ")
        given = [path_token, bearer.strip() if scheme.lower() == "bearer" else ""]
        if self._token is not None and any([hmac.compare_digest(_digest(one), self._token) for one in given]):
            return Visitor(may_trace=True)
        if self._proof is not None and self._proof.proves(headers, path + (f"?{query}" if query else "")):
            return Visitor(may_trace=False)
        mend = "send the site's token" if self._proof is None else f"{self._proof.mend}, or send the site's token"
        raise Refused("no proof that this call may be opened", status=401, mend=mend)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
