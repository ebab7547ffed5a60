"""``parley triton start|stop|restart|status|logs``: the Triton server of this site."""

from __future__ import annotations

from rich.console import Console

from parley.arguments import ArgumentParser
from parley.errors import ParleyError
from parley.serving.triton_record import read_record, stop_recorded
from parley.serving.triton_server import TritonServer
from parley.settings import Settings, settings
from parley.typed import count


def main(argv: list[str]) -> int:
    """Run one of the verbs; status 1 when `status` finds no server."""
    parser = ArgumentParser(prog="parley triton", description=__doc__)
    parser.add_argument("verb", choices=("start", "stop", "restart", "status", "logs"))
    parser.add_argument("--lines", type=count, default=40, help="logs: how many of the last lines")
    args = parser.parse_args(argv)
    site = settings()
    if args.verb == "logs":
        return _logs(site, args.lines)
    if args.verb == "status":
        return _status(site)
    if args.verb in ("stop", "restart"):
        stopped = stop_recorded(site.state_dir)
        print("stopped" if stopped else "no server was running")
    if args.verb in ("start", "restart"):
        _start(site)
    return 0


def _start(site: Settings) -> None:
    from registry.served import ServedView
    from registry.writing import open_for_writing

    with open_for_writing(site) as registry, Console(stderr=True).status("starting Triton"):
        view = ServedView(registry)
        server = TritonServer.from_settings(site, leave_out=view.leave_out)
        server.refuse_second()
        problems = view.prepare()
        server.start(detached=True)
    for problem in problems:
        print(f"left out: {problem}")
    for model, reason in server.refused.items():
        print(f"refused: {model}: {reason}")
    print(f"gRPC {server.grpc_address}  HTTP {server.http_address}  metrics {server.metrics_address}")


def _status(site: Settings) -> int:
    record = read_record(site.state_dir)
    if record is None:
        print("no Triton server runs for this site")
        return 1
    print(f"process {record.pid}  gRPC {record.grpc}  HTTP {record.http}  metrics {record.metrics}")
    return 0


def _logs(site: Settings, lines: int) -> int:
    path = TritonServer.from_settings(site).log_path
    if not path.is_file():
        raise ParleyError("there is no log yet", where=str(path), mend="parley triton start")
    print("\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]))
    return 0
