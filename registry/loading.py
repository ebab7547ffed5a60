"""Loading versions into the Triton server of this site: what promoting and publishing hand on (`Loader`)."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from dataclasses import dataclass

from parley.bundle import read_manifest
from parley.errors import ParleyError
from parley.serving.triton_control import connect
from parley.serving.triton_record import read_record
from registry.releasing.holds import Ref
from registry.site import Registry

_ASK_TIMEOUT_S = 0.5


@dataclass(frozen=True)
class SiteLoader:
    """The loader of the server that this site runs, or that ``PARLEY_TRITON_GRPC`` names."""

    registry: Registry

    def answers(self, refs: Sequence[Ref]) -> bool:
        """Whether the server of this site answers for all of these versions. Triton's HTTP port says so in a
        millisecond, and nothing heavy is imported for it."""
        site = self.registry.site
        record = read_record(site.state_dir) if site.engine == "triton" else None
        if record is None:
            return False
        connection = connect(record.http, _ASK_TIMEOUT_S)
        try:
            for model, version in refs:
                served = read_manifest(self.registry.repo / model / str(version)).served_as
                connection.request("GET", f"/v2/models/{served}/versions/{version}/ready")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    return False
        except (OSError, http.client.HTTPException, ParleyError):  # a version without its files: `make_ready` says so
            return False
        finally:
            connection.close()
        return True

    def make_ready(self, refs: Sequence[Ref]) -> None:
        """Have the server load these versions and wait until they answer; nothing where no server runs.

        Raises:
            EngineTimeout, EngineUnavailable: the server is not there, or not ready in time.
            ParleyError: the server refuses one, or its files are not what was published.
        """
        site = self.registry.site
        if site.engine != "triton" or (not site.triton_grpc and read_record(site.state_dir) is None):
            return
        # Its gRPC takes a tenth of a second to import, which a rollback to what answers already does not wait for.
        from registry.served import ServedView

        ServedView(self.registry).ensure(refs)
