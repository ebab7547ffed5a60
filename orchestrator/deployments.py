"""What runs in the processes that Ray Serve starts for a site: calls in some, the product owner's routes in another."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from parley.priority import put_first
from parley.settings import Settings

REST_NICENESS = 5


def build_api(bot_name: str, settings: dict[str, Any], replicas: int) -> Any:
    """The ASGI application of a replica that answers calls. Called there; it never imports torch."""
    from orchestrator.api import create_api
    from orchestrator.logs import log_to
    from orchestrator.replica import Replica

    close_doors()
    put_first(os.getpid())
    site = Settings(**settings)
    log_to(site.state_dir / "logs")
    return create_api(partial(Replica, bot_name, site, replicas=replicas))


def build_rest(settings: dict[str, Any]) -> Any:
    """The ASGI application of the product owner's routes. Called in its own process."""
    from experiments.api import create_rest
    from orchestrator.logs import log_to

    close_doors()
    os.nice(REST_NICENESS)
    site = Settings(**settings)
    log_to(site.state_dir / "logs")
    rest = create_rest(site)

    async def whole_path(scope: Any, receive: Any, send: Any) -> None:
        # Serve mounts an application under its prefix; ours knows its routes by their whole path.
        await rest(scope | {"root_path": ""}, receive, send)

    return whole_path


def close_doors() -> None:
    """Bound what this process takes and who reaches it, where Ray offers no setting. Before Ray opens its servers."""
    from ray.serve._private import replica

    from orchestrator.metered import bound_websockets

    bound_websockets()
    # Its server for other deployments, which would listen on every interface. AttributeError: Ray has changed.
    listen = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: listen(server, address.replace("[::]", "127.0.0.1"))
