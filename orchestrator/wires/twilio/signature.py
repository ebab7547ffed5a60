"""Twilio's proof that a request is its own: ``X-Twilio-Signature``.

It is the HMAC-SHA1 of the URL that Twilio was told to open, keyed with the account's auth token, in base64. For a
stream that is the ``wss://`` URL, without parameters. Behind a proxy the site is told that URL. Source: Twilio's
"Webhooks security" and "Media Streams: authentication".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping

from parley.settings import Settings, words

SIGNATURE = "x-twilio-signature"


class TwilioSignature:
    """See `orchestrator.wires.contract.Proof`. Compares in constant time.

    Args:
        tokens: auth tokens of the account: two while it changes them.
        public_url: what Twilio was told to open, up to the path; empty takes the request's own ``Host``.
    """

    mend = "sign it as Twilio does"

    def __init__(self, tokens: Iterable[str], public_url: str = "") -> None:
        self._keys = [key.encode() for key in tokens]
        self._public_url = public_url.rstrip("/")

    @classmethod
    def of(cls, site: Settings) -> TwilioSignature | None:
        """As the settings describe it; None where the site has no account."""
        tokens = words(site.read_secrets().twilio_auth_token)
        return cls(tokens, site.public_url) if tokens else None

    def proves(self, headers: Mapping[str, str], target: str) -> bool:
        """See `Proof`."""
        signature = headers.get(SIGNATURE, "")
        if not signature:
            return False
        base = self._public_url or f"wss://{headers.get('host', '')}"
        found = signature.encode("ascii", "replace")
        urls = [url + end for url in _with_and_without_port(base) for end in (target, target + "/")]
        right = [sign(key, url) for key in self._keys for url in urls]
        return any([hmac.compare_digest(found, one) for one in right])


def sign(key: bytes, url: str) -> bytes:
    """Twilio's signature of a URL without parameters, as the header carries it."""
    return base64.b64encode(hmac.new(key, url.encode("utf-8", "surrogateescape"), hashlib.sha1).digest())


def _with_and_without_port(base: str) -> list[str]:
    """Twilio signs some requests with the port and some without: its own helpers try both."""
    bare = base.removesuffix(":443")
    return [bare, f"{bare}:443"] if base.count(":") == 1 or base != bare else [base]
