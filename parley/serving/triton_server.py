"""The life of a local Triton server: start, readiness, logs, crash and restart, stop.

    with TritonServer(Path("triton_repo"), Path("var")) as server:
        engine = TritonEngine(server.grpc_address)

The server listens on sockets in a folder that no other user may enter, for whoever can tell it what to load can run
code as its user; only its metrics are on a port of loopback. It loads models only when told to, and is stopped by its
own process number. It finds its binary in the `nvidia-pytriton` wheel; no container and no GPU are needed.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from parley.background import BackgroundLoop, HealthNotes
from parley.errors import ParleyError
from parley.folder import MANIFEST
from parley.ports import free_ports
from parley.priority import put_first, put_session_first, starting_first
from parley.serving import triton_log, triton_record
from parley.serving.engine import EngineError
from parley.serving.triton_control import UNIX, HttpControl, refused_versions
from parley.serving.triton_install import find_triton, lay_out_backends, server_environment, view_of
from parley.serving.triton_supervisor import SUPERVISION, Supervision, Supervisor
from parley.serving.trust import Trust
from parley.settings import Settings

LOG = logging.getLogger(__name__)
_LOOPBACK = "127.0.0.1"
_LONGEST_SOCKET = 100
"""The kernel takes paths of 107 characters."""
_STARTS = 3


class TritonServer:
    """A Triton server process and the models it was told to serve.

    Args:
        repo: the view that `registry.served` keeps: what is in it is served, nothing else.
        state_dir: where the log, the backends and the note for other processes go.
        trust: what versions are checked against before they open; None is what `state_dir` itself holds.
        leave_out: told (model, version, reason) of a version that does not start; it takes it out of `repo`, and the
            model's other versions load without it. None refuses the whole model, as Triton does.
        metrics_port: 0 picks a free one, which a restart keeps.
        config_name: name of the `configs/<name>.pbtxt` to use, for GPU nodes.
        deadline_s: time for the server to answer, and again for its models to load.
    """

    def __init__(
        self,
        repo: Path,
        state_dir: Path,
        *,
        trust: Trust | None = None,
        leave_out: Callable[[str, int, str], None] | None = None,
        metrics_port: int = 0,
        config_name: str = "",
        deadline_s: float = 60.0,
    ) -> None:
        self.repo = repo.absolute()
        self.state_dir = state_dir.absolute()
        self.log_path = self.state_dir / "logs" / "triton.log"
        self.refused: dict[str, str] = {}
        """Models, and single versions of the others, that did not load at the last start, with Triton's reason."""
        self._sockets = self.state_dir / "triton" / "sockets"
        self._metrics_port = metrics_port
        self._trust = trust or Trust.of_state(state_dir)
        self._leave_out = leave_out
        self._config_name = config_name
        self._deadline_s = deadline_s
        self._process: subprocess.Popen[bytes] | None = None
        self._detached = False
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._supervisor: BackgroundLoop | None = None

    @classmethod
    def from_settings(
        cls, settings: Settings, *, leave_out: Callable[[str, int, str], None] | None = None
    ) -> TritonServer:
        """The server of a site: its view, state folder and trusted keys."""
        return cls(view_of(settings.state_dir), settings.state_dir, trust=Trust.of(settings), leave_out=leave_out)

    @property
    def grpc_address(self) -> str:
        """For `TritonEngine`."""
        return f"{UNIX}{self._sockets}/grpc:1"  # Triton writes its port behind the path

    @property
    def http_address(self) -> str:
        """Of the HTTP service, for `HttpControl`."""
        return f"{UNIX}{self._sockets}/http"

    @property
    def metrics_address(self) -> str:
        """`host:port` of the Prometheus metrics."""
        return f"{_LOOPBACK}:{self._metrics_port}"

    @property
    def pid(self) -> int | None:
        """Process number while the server runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def _control(self) -> HttpControl:
        return HttpControl(self.http_address)

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *, detached: bool = False) -> None:
        """Start the server and load its models; returns when every model answers or was refused (see `refused`).

        Args:
            detached: leave the server running when this process ends; another stops it with `stop_recorded`.

        Raises:
            ParleyError: no binary, a library or port is not to be had, a server of this site runs already, the server
                died or did not get ready by the deadline (with the reason from its log), or every model was refused.
        """
        with self._lock:
            if self.pid is not None:
                return
            self.refuse_second()
            self._stopping.clear()
            self._detached = detached
            install = find_triton()
            environment = server_environment(install, self._trust)
            backends = lay_out_backends(self.state_dir / "triton" / "backends")
            (self._metrics_port,) = free_ports(_LOOPBACK, [self._metrics_port], where="tritonserver")
            self.refused = {}  # of all tries: what one left out of the view the next does not meet again
            for start in range(1, _STARTS + 1):
                self._make_sockets_folder()
                command = [str(install.binary), *self._arguments(backends)]
                if self._comes_up(command, environment, last=start == _STARTS):
                    break
                LOG.warning("tritonserver aborted while its models were loading: starting it again")
            if not detached:
                atexit.register(self.stop)

    def stop(self) -> None:
        """Stop the server and the supervisor. Safe to call twice."""
        self._stopping.set()
        with self._lock:
            self._end_process(grace_s=10.0)
            atexit.unregister(self.stop)
        if self._supervisor is not None:
            self._supervisor.stop(timeout_s=None)
        self._supervisor = None

    def restart(self) -> None:
        """Stop the process, if it runs, and start it again on the same ports with the same models. Raises as
        `start`."""
        with self._lock:
            self._end_process(grace_s=10.0)
            self.start(detached=self._detached)

    def ensure_alive(self) -> bool:
        """Restart the server if it died. True when it had to be restarted. Raises as `start`."""
        with self._lock:
            if self.pid is not None or self._stopping.is_set():
                return False
            code = self._process.returncode if self._process is not None else None
            LOG.warning("tritonserver is gone (exit %s): restarting it", code)
            self.restart()
            return True

    def supervise(self, rules: Supervision = SUPERVISION) -> BackgroundLoop:
        """Watch the server from a thread until `stop`, and restart it when it dies or hangs."""
        if self._supervisor is None:
            self._supervisor = Supervisor(self, rules, notes=HealthNotes.of(self.state_dir)).loop.start()
        return self._supervisor

    def live(self, *, timeout_s: float) -> bool:
        """Whether the server answers."""
        return self._control.live(timeout_s=timeout_s)

    def raise_threads(self) -> None:
        """Triton itself sets the threads that run a model to niceness 0; those that open a version stand behind it."""
        if (pid := self.pid) is not None:
            put_first(pid, from_at_most=0)

    def end_hung(self) -> None:
        """End a process that does not answer, at once."""
        with self._lock:
            if self.pid is not None and not self._stopping.is_set():
                LOG.error("tritonserver (process %d) hangs: ending it", self.pid)
                self._end_process(grace_s=0.0)

    def refuse_second(self) -> None:
        """Look whether a server of this site runs; one whose owner is gone is stopped, and what a dead one left is
        swept.

        Raises:
            ParleyError: one runs; says where.
        """
        record = triton_record.read_record(self.state_dir)
        if record is None:
            triton_record.sweep_dead(self.state_dir)
            return
        if record.orphaned:
            triton_record.stop_recorded(self.state_dir)
            return
        raise ParleyError(
            f"a Triton server of this site runs already (process {record.pid}, gRPC {record.grpc})",
            where=str(self.state_dir),
            mend="stop it, or use it with PARLEY_TRITON_GRPC",
        )

    def _arguments(self, backends: Path) -> list[str]:
        arguments = [
            f"--model-repository={self.repo}",
            "--model-control-mode=explicit",
            "--disable-auto-complete-config",
            "--strict-readiness=false",
            f"--backend-directory={backends}",
            f"--grpc-address={UNIX}{self._sockets}/grpc",
            "--grpc-port=1",
            f"--http-address={self.http_address}",
            "--http-port=2",
            f"--metrics-address={_LOOPBACK}",
            f"--metrics-port={self._metrics_port}",
            "--allow-gpu-metrics=false",
            "--pinned-memory-pool-byte-size=0",
            # Our channels ping every 30 s, also between calls; without these the server would hang up on them.
            "--grpc-http2-min-recv-ping-interval-without-data=10000",
            "--grpc-keepalive-permit-without-calls=1",
            "--exit-timeout-secs=5",
            "--log-format=ISO8601",
        ]
        return arguments + ([f"--model-config-name={self._config_name}"] if self._config_name else [])

    def _comes_up(self, command: list[str], environment: dict[str, str], *, last: bool) -> bool:
        """Launch the server and load its models. False when it crashed, unless this is the `last` time: then it
        raises."""
        self._launch(command, environment)
        try:
            self._wait_live()
            self._load_models()
            self.raise_threads()
        except BaseException as error:
            aborted = isinstance(error, ParleyError) and triton_log.aborted(self.log_path, self._log_from)
            self._end_process(grace_s=0.0)
            if last or not aborted:
                raise
            return False
        return True

    def _launch(self, command: list[str], environment: dict[str, str]) -> None:
        triton_log.rotate(self.log_path)
        with self.log_path.open("ab") as log, starting_first():
            self._log_from = log.tell()
            # A session of its own makes a process group of the server and its checks, which is what `stop` ends.
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                umask=0o077,
            )
        put_session_first(self._process.pid)
        own = 0 if self._detached else os.getpid()
        record = triton_record.ServerRecord(
            pid=self._process.pid,
            started=triton_record.process_started(self._process.pid) or 0,
            owner_pid=own,
            owner_started=(triton_record.process_started(own) or 0) if own else 0,
            grpc=self.grpc_address,
            http=self.http_address,
            metrics=self.metrics_address,
        )
        triton_record.write_record(self.state_dir, record)

    def _make_sockets_folder(self) -> None:
        """Anew for each server, closed to other users; at its old place where that can be."""
        shutil.rmtree(self._sockets, ignore_errors=True)
        if len(os.fsencode(self._sockets / "grpc:1")) <= _LONGEST_SOCKET:
            self._sockets.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # somebody else's
                self._sockets.mkdir(mode=0o700)
                return
        self._sockets = Path(tempfile.mkdtemp(prefix="parley-triton-", dir="/tmp"))

    def _wait_live(self) -> None:
        end = time.monotonic() + self._deadline_s
        while not self.live(timeout_s=1.0):  # gRPC answers by then: Triton starts it before HTTP
            if self.pid is None:
                raise self._failure("the server ended at its start")
            if time.monotonic() > end:
                raise self._failure(f"the server does not answer after {self._deadline_s:g} s")
            time.sleep(0.05)

    def _load_models(self) -> None:
        models = sorted(path.parent.name for path in self.repo.glob("*/config.pbtxt"))
        if not models:
            return
        with ThreadPoolExecutor(max_workers=len(models)) as pool:
            loads = {name: pool.submit(self._load_model, name) for name in models}
            while wait(loads.values(), timeout=0.25).not_done:
                if self._process and triton_log.aborted(self.log_path, self._log_from):
                    triton_record.sweep_group(self._process.pid)  # it may hang; whoever waits for it hears now
        if triton_log.aborted(self.log_path, self._log_from):
            raise self._failure("it aborted while its models were loading")
        for name, load in loads.items():
            if (reason := load.result()) is not None:
                self.refused[name] = triton_log.model_reason(self.log_path, self._log_from, name) or reason
        for name, reason in self.refused.items():
            LOG.error("tritonserver refused %s: %s", name, reason)
        if all(name in self.refused for name in models):
            raise self._failure("no model could be loaded: " + next(iter(self.refused.values())))

    def _load_model(self, name: str) -> str | None:
        """Load a model without the versions that do not start; None when it answers, else the reason in one line."""
        if self._leave_out is not None:
            for path in (self.repo / name).iterdir():
                if path.name.isdigit() and not (path / MANIFEST).exists():  # Triton would not even look at the others
                    self._leave_out(name, int(path.name), "its folder is gone")
                    self.refused[f"{name} version {path.name}"] = "its folder is gone"
        while True:
            try:
                self._control.load(name, timeout_s=self._deadline_s)
                return None
            except EngineError as error:
                reasons = {
                    number: reason
                    for number, reason in refused_versions(error.what).items()
                    if (self.repo / name / str(number)).exists()
                }
                if self._leave_out is None or not reasons:
                    return error.what
                for number, reason in reasons.items():
                    self._leave_out(name, number, reason)
                    self.refused[f"{name} version {number}"] = reason

    def _failure(self, what: str) -> ParleyError:
        reason = triton_log.server_reason(self.log_path, self._log_from)
        if isinstance(reason, ParleyError):
            return reason
        return ParleyError(
            f"{what}: {reason}" if reason and reason not in what else what,
            where="tritonserver",
            mend=f"read {self.log_path}; `parley doctor` checks this machine",
        )

    def _end_process(self, *, grace_s: float) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None and grace_s > 0:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
        triton_record.sweep_group(process.pid)
        process.wait()
        triton_record.clear_record(self.state_dir, process.pid)
        shutil.rmtree(self._sockets, ignore_errors=True)
