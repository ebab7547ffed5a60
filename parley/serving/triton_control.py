"""Telling a Triton server what to serve, from code that is not asynchronous: the server's own start, and the registry.

    control = open_control(settings())          # None where this site runs no server
    control.load("barista_nlu")                 # starts versions that were added, ends versions that were removed

The site's own server is told over HTTP with the standard library alone, because a rollback must not wait for gRPC to
be imported. It listens on sockets that no other user reaches, so it needs no key. A server that somebody else runs is
known by its gRPC address only, and closed by a key.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from typing import TYPE_CHECKING, Any, Protocol

from parley.serving.engine import EngineError, EngineRejected, EngineTimeout, EngineUnavailable
from parley.serving.triton_record import read_record

if TYPE_CHECKING:
    from parley.settings import Settings

CONTROL_HEADER = "parley-control"
"""Name of the key that opens model control of a server that somebody else runs; over gRPC behind the prefix below."""
GRPC_PREFIX = "triton-grpc-protocol-"
UNIX = "unix:"
"""Begins an address that is a socket in the file system, for gRPC as for us."""
KEY_MEND = "set PARLEY_TRITON_CONTROL_KEY to the key the server was started with"
LOAD_TIMEOUT_S = 60.0
_REFUSED = re.compile(r"version (\d+) is at UNAVAILABLE state: (.*?)(?=;\s*(?:version \d+ is at|$)|$)", re.DOTALL)


class Control(Protocol):
    """Model control of one server. Every method raises `EngineError` when the server is not there or refuses."""

    def live(self, *, timeout_s: float) -> bool:
        """Whether the server answers. Never raises."""
        ...

    def load(self, model: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        """Serve what the model's folder holds now; returns when all of it answers. What did not change goes on."""
        ...

    def unload(self, model: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        """Serve nothing of the model any more."""
        ...

    def ready(self, model: str, version: int, *, timeout_s: float = 2.0) -> bool:
        """Whether a version answers now. False for a server that is not there."""
        ...

    def serving(self, *, timeout_s: float = 2.0) -> dict[str, set[int]]:
        """The versions that answer, by model."""
        ...


class HttpControl:
    """`Control` over HTTP.

    Args:
        address: of the server's HTTP service, as `connect` takes it.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def live(self, *, timeout_s: float) -> bool:
        """See `Control`."""
        return self._succeeds("/v2/health/live", timeout_s)

    def load(self, model: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        """See `Control`."""
        self._ask("POST", f"/v2/repository/models/{model}/load", f"load {model}", timeout_s)

    def unload(self, model: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        """See `Control`."""
        self._ask("POST", f"/v2/repository/models/{model}/unload", f"unload {model}", timeout_s)

    def ready(self, model: str, version: int, *, timeout_s: float = 2.0) -> bool:
        """See `Control`."""
        return self._succeeds(f"/v2/models/{model}/versions/{version}/ready", timeout_s)

    def serving(self, *, timeout_s: float = 2.0) -> dict[str, set[int]]:
        """See `Control`."""
        answer = self._ask("POST", "/v2/repository/index", "index", timeout_s)
        return _serving((row["name"], row.get("version", ""), row.get("state", "")) for row in json.loads(answer))

    def _succeeds(self, path: str, timeout_s: float) -> bool:
        try:
            self._ask("GET", path, "", timeout_s)
        except EngineError:
            return False
        return True

    def _ask(self, method: str, path: str, where: str, timeout_s: float) -> bytes:
        connection = connect(self.address, timeout_s)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
        except TimeoutError:
            raise _late(where, timeout_s) from None
        except (OSError, http.client.HTTPException):
            raise _silent(self.address, where) from None
        finally:
            connection.close()
        if answer.status == 200:
            return body
        raise refusal(_error_text(body) or f"status {answer.status}", where)


class GrpcControl:
    """`Control` over gRPC.

    Args:
        address: of the server's gRPC service: `host:port`, or `unix:` and a path.
        key: of model control, where the server was started with one.
    """

    def __init__(self, address: str, key: str = "") -> None:
        self.address = address
        self._key = key

    def live(self, *, timeout_s: float) -> bool:
        """See `Control`."""
        try:
            return bool(self._ask("is_server_live", "", timeout_s))
        except EngineError:
            return False

    def load(self, model: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        """See `Control`."""
        self._ask("load_model", f"load {model}", timeout_s, model)

    def unload(self, model: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        """See `Control`."""
        self._ask("unload_model", f"unload {model}", timeout_s, model)

    def ready(self, model: str, version: int, *, timeout_s: float = 2.0) -> bool:
        """See `Control`."""
        try:
            return bool(self._ask("is_model_ready", "", timeout_s, model, str(version)))
        except EngineError:
            return False

    def serving(self, *, timeout_s: float = 2.0) -> dict[str, set[int]]:
        """See `Control`."""
        index = self._ask("get_model_repository_index", "index", timeout_s)
        return _serving((row.name, row.version, row.state) for row in index.models)

    def _ask(self, method: str, where: str, timeout_s: float, *arguments: str) -> Any:
        import tritonclient.grpc as triton
        from tritonclient.utils import InferenceServerException

        headers = {GRPC_PREFIX + CONTROL_HEADER: self._key}
        with triton.InferenceServerClient(self.address) as client:
            try:
                return getattr(client, method)(*arguments, headers=headers, client_timeout=timeout_s)
            except InferenceServerException as error:
                status, text = str(error.status()), str(error.message())
        if status.endswith("DEADLINE_EXCEEDED"):
            raise _late(where, timeout_s)
        if status.endswith("UNAVAILABLE") and "restricted" not in text:
            raise _silent(self.address, where)
        raise refusal(text, where)


def open_control(settings: Settings) -> Control | None:
    """Control of the server that `PARLEY_TRITON_GRPC` names, else of the one this site runs; None where none runs."""
    if settings.triton_grpc:
        return GrpcControl(settings.triton_grpc, settings.read_secrets().triton_control_key)
    record = read_record(settings.state_dir)
    return HttpControl(record.http) if record else None


def connect(address: str, timeout_s: float) -> http.client.HTTPConnection:
    """A connection, made at the first request, to an HTTP service: `host:port`, or `unix:` and a path."""
    if not address.startswith(UNIX):
        return http.client.HTTPConnection(address, timeout=timeout_s)
    return _SocketFile(address.removeprefix(UNIX), timeout_s)


class _SocketFile(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path, self._timeout_s = path, timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(self._path)


def refused_versions(text: str) -> dict[int, str]:
    """Which versions a refused load was about, and why, from Triton's answer."""
    return {
        int(number): " ".join(reason.removeprefix("Internal: ").split()) for number, reason in _REFUSED.findall(text)
    }


def refusal(text: str, where: str) -> EngineRejected:
    """The error for a request that the server answered with `text`."""
    line = " ".join(text.split())[:2000]
    return EngineRejected(line, where=where, mend=KEY_MEND if "restricted" in line else "")


def _serving(rows: Any) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for name, version, state in rows:
        if state == "READY" and version:
            found.setdefault(name, set()).add(int(version))
    return found


def _error_text(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", errors="replace")[:500]


def _late(where: str, timeout_s: float) -> EngineTimeout:
    return EngineTimeout(f"no answer within {timeout_s:g} s", where=where, mend="read the server's log")


def _silent(address: str, where: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"Triton at {address} does not answer", where=where, mend="start it, or read its log if it stopped"
    )
