"""``parley serve`` and ``parley call``: what the two verbs do. The command line hands them the rest of its line."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orchestrator.app import RunningApp, start_app
from orchestrator.caller import CallOptions, place_call, place_calls
from orchestrator.calls import CallEvent, CallReport, Recording, load_recording, read_recordings, summarise
from parley.errors import ParleyError
from parley.files import write_atomic
from parley.progress import progress
from parley.settings import Settings, settings

_log = logging.getLogger(__name__)


@contextmanager
def running_site(
    bot_name: str, site: Settings, *, replicas: int = 1, say: Callable[[str], None] = lambda _: None
) -> Iterator[RunningApp]:
    """Everything that answers a bot's calls while the block runs: Triton, where the settings want our own, and the
    application.

    Args:
        say: told what is being started.

    Raises:
        ParleyError: what is missing or in use, and how to mend it.
    """
    with ExitStack() as running:
        if site.engine == "triton" and not site.triton_grpc:
            from parley.serving.triton_server import TritonServer
            from registry.model_config import write_configs

            say("starting Triton")
            problems: list[ParleyError] = []
            write_configs(site.repo_dir, problems)
            server = TritonServer.from_settings(site)
            server.start()
            running.callback(server.stop)
            server.supervise()
            for model, reason in server.refused.items():
                say(f"Triton refused {model}: {reason}")
            for problem in problems:
                say(f"left out: {problem}")
            site = site.model_copy(update={"triton_grpc": server.grpc_address})
        say("starting Ray Serve")
        yield running.enter_context(start_app(bot_name, site, replicas=replicas))


def serve_main(argv: Sequence[str]) -> int:
    """``parley serve --bot NAME``: answer calls until interrupted."""
    parser = argparse.ArgumentParser(prog="parley serve", description=serve_main.__doc__)
    parser.add_argument("--bot", required=True, help="name of the bot's folder")
    parser.add_argument("--host", help="address to listen on (PARLEY_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on, 0 picks a free one (PARLEY_PORT)")
    parser.add_argument("--engine", choices=("triton", "onnx"), help="what runs the models (PARLEY_ENGINE)")
    parser.add_argument("--replicas", type=int, default=1, help="processes that answer calls")
    args = parser.parse_args(argv)
    site = settings(host=args.host, port=args.port, engine=args.engine)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with running_site(args.bot, site, replicas=args.replicas, say=lambda text: print(text, flush=True)) as app:
        print(f"{args.bot} answers calls at {app.address}   health {app.http}/healthz   stop with Ctrl-C", flush=True)
        ended.wait()
        print("stopping", flush=True)
    return 0


def call_main(argv: Sequence[str]) -> int:
    """``parley call FILE... | --recordings MANIFEST``: call a serving Parley with recordings, as a gateway does."""
    parser = argparse.ArgumentParser(prog="parley call", description=call_main.__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="recordings of one call, a turn each (8 kHz mono)")
    parser.add_argument("--recordings", type=Path, help="a manifest (JSON lines): a call for each of its rows")
    parser.add_argument("--parallel", type=int, default=1, help="calls at once, with --recordings")
    parser.add_argument("--limit", type=int, help="only the first rows of the manifest")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--url", help="the server's address; default: this site's")
    parser.add_argument("--caller", default="", help="the caller's number, for experiments")
    parser.add_argument("--skip-greeting", action="store_true", help="speak first")
    parser.add_argument(
        "--out", type=Path, help="folder for call.wav and call.png; default: calls/ of the state folder"
    )
    args = parser.parse_args(argv)
    if bool(args.files) == bool(args.recordings):
        raise ParleyError("give recordings", where="parley call", mend="FILE..., or --recordings MANIFEST")
    site = settings()
    url = args.url or f"ws://{site.host}:{site.port}/twilio"
    options = CallOptions(url, greeting=not args.skip_greeting, caller=args.caller)
    if args.files:
        out = args.out or site.state_dir / "calls"
        reports = [call_files(args.files, options, out)]
    else:
        reports = call_manifest(read_recordings(args.recordings, args.limit), options, args.parallel)
    summary = summarise(reports)
    shown = {name: value for name, value in summary.items() if name != "rows"}
    print(json.dumps(shown))
    if args.json:
        write_atomic(args.json, json.dumps(summary, indent=2) + "\n")
    return 0


def call_files(files: Sequence[Path], options: CallOptions, out: Path) -> CallReport:
    """One call with several turns, printed as it happens; writes ``call.wav`` and ``call.png`` into ``out``."""
    recordings = [load_recording(path) for path in files]
    out.mkdir(parents=True, exist_ok=True)
    wav, png = out / "call.wav", out / "call.png"
    report = asyncio.run(place_call(recordings, options, print_event, wav=wav, png=png))
    print(f"{wav} (caller left, bot right)\n{png}")
    return report


def call_manifest(recordings: Sequence[Recording], options: CallOptions, parallel: int) -> list[CallReport]:
    """A call for each recording, with a progress bar."""
    with progress("calls", len(recordings)) as bar:
        return asyncio.run(place_calls(recordings, options, parallel=parallel, on_call=lambda *_: bar.advance()))


def print_event(event: CallEvent) -> None:
    """A call's event as a line for people; what only machines read is left out."""
    line = describe(event)
    if line:
        print(f"{event.at_s:7.2f}  {line}", flush=True, file=sys.stdout)


def describe(event: CallEvent) -> str:
    """The event in words, empty where there is nothing to say."""
    data = event.data
    match event.kind:
        case "call":
            versions = " ".join(f"{stage}={version}" for stage, version in data["versions"].items())
            return f"call     {data['call_id'][:8]}  bot {data['bot']}  release {data['release']}  {versions}"
        case "caller_speaks":
            return f"caller   speaks: {data['recording']}" + (f'  "{data["text"]}"' if data["text"] else "")
        case "partial":
            return f"partial  {data['text']}"
        case "transcript":
            sure = "" if data["accepted"] else "  (not sure enough)"
            return f"heard    {data['text']!r}  confidence {data['confidence']:.2f}{sure}"
        case "understanding":
            slots = " ".join(f"{name}={value!r}" for name, value in data["slots"].items())
            return f"meant    {data['intent']}  {slots}"
        case "reply":
            return f"bot      [{data['act']}] {data['text']}"
        case "answer":
            return f"audio    first of the answer, voice to voice {data['voice_to_voice_ms']:.0f} ms"
        case "turn":
            names = ("stt_ms", "nlu_ms", "nlg_ms", "tts_first_ms", "voice_to_voice_ms")
            shown = "  ".join(f"{name[:-3]} {data[name]:.0f}" for name in names if data.get(name) is not None)
            return f"ms       {shown}" if shown else ""
        case "interrupted":
            return f"caller   interrupts; heard so far: {data['heard']!r}"
        case "no_answer":
            return "caller   waits in vain for an answer"
        case "end":
            return f"end      {data['reason']}"
    return ""
