"""Whether a release's versions are whole and answer, asked before a pointer moves to them.

A rollback imports nothing heavy here: Triton's HTTP port says in a millisecond whether a version answers.
"""

from __future__ import annotations

import http.client
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from parley.errors import ParleyError
from parley.serving.triton_control import connect
from parley.serving.triton_record import read_record
from parley.settings import Settings
from registry.releasing import leases
from registry.releasing.documents import StageVersion

if TYPE_CHECKING:
    from registry.site import Registry

_ASK_TIMEOUT_S = 0.5


def answers_now(site: Settings, refs: Sequence[tuple[str, int]]) -> bool:
    """Whether the Triton server of this site answers for all of these versions."""
    record = read_record(site.state_dir) if site.engine == "triton" else None
    if record is None:
        return False
    connection = connect(record.http, _ASK_TIMEOUT_S)
    try:
        for model, version in refs:
            connection.request("GET", f"/v2/models/{model}/versions/{version}/ready")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                return False
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def verify(registry: Registry, refs: Iterable[StageVersion]) -> None:
    """Check signature and files of every version, as a loader will.

    Raises:
        ParleyError: names the file that is missing, altered or added, or what is wrong with the signature.
    """
    from parley.serving.trust import Trust
    from parley.signatures import verify_version

    trusted = Trust.of(registry.site).key_files()
    for ref in refs:
        folder = registry.repo / ref.model / str(ref.version)
        try:
            verify_version(folder, trusted, model=ref.model, number=ref.version, pin=ref.digest)
        except OSError as error:
            raise ParleyError(
                f"cannot be read: {error.strerror or error}", where=str(error.filename or folder), mend="see its rights"
            ) from None


def make_ready(registry: Registry, refs: Sequence[tuple[str, int]], engine: Any = None) -> None:
    """Have the running server load these versions and wait until they answer; nothing where no server runs.

    Raises:
        EngineError: the server refuses one, or is not ready in time.
    """
    site = registry.site
    if engine is None and (site.engine != "triton" or (not site.triton_grpc and read_record(site.state_dir) is None)):
        return
    from registry.served import ServedView

    ServedView(registry).ensure(refs, engine)


@contextmanager
def kept_loaded(registry: Registry, refs: Sequence[tuple[str, int]]) -> Iterator[None]:
    """Keep versions served that no pointer names yet. A lease does it, for it ends by itself if this process dies."""
    holder = f"promotion {uuid.uuid4().hex[:8]}"
    with registry.catalogue.write() as c:
        leases.lease(c, holder, dict.fromkeys(refs, 1))
    try:
        yield
    finally:
        # The pointer may have moved: nothing that comes after that may make it look as if it had not.
        with suppress(ParleyError), registry.catalogue.write() as c:
            leases.lease(c, holder, {})
