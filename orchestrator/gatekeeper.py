"""Who may open a call: the wire's own proof, looked at before the upgrade.

    keeper = Gatekeeper.of(settings)
    visitor = keeper.look(headers, raw_path, query)       # Refused, or what the caller may do

A site with no secret listens on loopback only (`start_app` sees to it) and takes everybody. With one, a call shows
either

- Twilio's signature: ``X-Twilio-Signature`` is the HMAC-SHA1 of the URL that Twilio was told to open, keyed with the
  account's auth token, in base64. For a stream that is the ``wss://`` URL, without parameters. Source: Twilio's
  "Webhooks security" and "Media Streams: authentication". Behind a proxy the site is told that URL;
- or the site's token: ``Authorization: Bearer TOKEN``, or the last part of the path, ``/twilio/TOKEN``, for gateways
  that can send no headers.

A browser names the page that opens a socket in ``Origin``; a gateway does not. What a page of somebody else's opens
from within the user's network is refused, secret or not.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from parley.errors import ParleyError
from parley.settings import Settings

SIGNATURE, ORIGIN, AUTHORIZATION = "x-twilio-signature", "origin", "authorization"


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
        twilio_tokens: auth tokens of the account: two while it changes them.
        public_url: what Twilio was told to open, up to the path; empty takes the request's own ``Host``.
        origins: pages that may open a call.
    """

    def __init__(
        self, token: str = "", twilio_tokens: Iterable[str] = (), public_url: str = "", origins: Iterable[str] = ()
    ) -> None:
        self._token = _digest(token) if token else None
        self._keys = [key.encode() for key in twilio_tokens]
        self._public_url = public_url.rstrip("/")
        self._origins = {origin.rstrip("/").lower() for origin in origins}

    @classmethod
    def of(cls, site: Settings) -> Gatekeeper:
        """The gatekeeper that the settings describe."""
        return cls(site.site_token, words(site.twilio_auth_token), site.public_url, words(site.allowed_origins))

    def look(self, headers: Mapping[str, str], path: str, query: str = "", path_token: str = "") -> Visitor:
        """Who asks, by the headers (their names in lower case) and the raw path of his request.

        Raises:
            Refused: 403, a page that is not allowed; 401, no proof or a wrong one.
        """
        origin = headers.get(ORIGIN)
        if origin is not None and origin.rstrip("/").lower() not in self._origins:
            raise Refused("this page may not open calls", status=403, mend="name it in PARLEY_ALLOWED_ORIGINS")
        if self._token is None and not self._keys:
            return Visitor(may_trace=True)
        scheme, _, bearer = headers.get(AUTHORIZATION, "").partition(" ")
        given = [path_token, bearer.strip() if scheme.lower() == "bearer" else ""]
        if self._token is not None and any([hmac.compare_digest(_digest(one), self._token) for one in given]):
            return Visitor(may_trace=True)
        if self._signed(headers.get(SIGNATURE, ""), headers.get("host", ""), path + (f"?{query}" if query else "")):
            return Visitor(may_trace=False)
        raise Refused(
            "no proof that this call may be opened", status=401, mend="sign it as Twilio does, or send the site's token"
        )

    def _signed(self, signature: str, host: str, target: str) -> bool:
        if not signature:
            return False
        base = self._public_url or f"wss://{host}"
        found = signature.encode("ascii", "replace")
        urls = [url + end for url in _with_and_without_port(base) for end in (target, target + "/")]
        right = [sign(key, url) for key in self._keys for url in urls]
        return any([hmac.compare_digest(found, one) for one in right])


def sign(key: bytes, url: str) -> bytes:
    """Twilio's signature of a URL without parameters, as the header carries it."""
    return base64.b64encode(hmac.new(key, url.encode("utf-8", "surrogateescape"), hashlib.sha1).digest())


def words(text: str) -> list[str]:
    """The parts of a setting that are separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _with_and_without_port(base: str) -> list[str]:
    """Twilio signs some requests with the port and some without: its own helpers try both."""
    bare = base.removesuffix(":443")
    return [bare, f"{bare}:443"] if base.count(":") == 1 or base != bare else [base]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
