"""Whether a release's versions are whole and answer, asked before an alias points to them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from parley.errors import ParleyError
from parley.serving.trust import Trust
from parley.signatures import verify_version
from registry.releasing import leases
from registry.releasing.documents import StageVersion
from registry.releasing.holds import Ref
from registry.site import Registry

_log = logging.getLogger(__name__)


class Loader(Protocol):
    """Has the server that answers the site's calls load versions (`registry.loading.SiteLoader`)."""

    def answers(self, refs: Sequence[Ref]) -> bool:
        """Whether the server answers for all of these versions now; a server that is not there does not."""

    def make_ready(self, refs: Sequence[Ref]) -> None:
        """Have the server load these versions and wait until they answer; nothing where the site runs none.

        Raises:
            EngineTimeout, EngineUnavailable: the server is not there, or not ready in time.
            ParleyError: the server refuses one, or its files are not what was published.
        """


def verify(registry: Registry, refs: Iterable[StageVersion]) -> None:
    """Check signature and files of every version, as a loader will.

    Raises:
        ParleyError: names the file that is missing, altered or added, or what is wrong with the signature.
    """
    trusted = Trust.of(registry.site).key_files()
    for ref in refs:
        folder = registry.repo / ref.model / str(ref.version)
        try:
            verify_version(folder, trusted, model=ref.model, number=ref.version, pin=ref.digest)
        except OSError as error:
            raise ParleyError(
                f"cannot be read: {error.strerror or error}", where=str(error.filename or folder), mend="see its rights"
            ) from None


@contextmanager
def kept_loaded(registry: Registry, refs: Sequence[Ref]) -> Iterator[None]:
    """Keep versions served that no alias points to yet. A lease does it, for it ends by itself if this process dies."""
    holder = f"promotion {uuid.uuid4().hex[:8]}"
    with registry.catalogue.write() as c:
        leases.lease(c, holder, dict.fromkeys(refs, 1))
    try:
        yield
    finally:
        # The alias may have changed: nothing that comes after that may make it look as if it had not. The lease ends
        # by itself.
        try:
            with registry.catalogue.write() as c:
                leases.lease(c, holder, {})
        except Exception as error:
            _log.info("%s is let go later: %s", holder, error)
