"""``parley call FILE... | --recordings MANIFEST``: call a serving Parley, in real time."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from parley.arguments import ArgumentParser
from parley.errors import ParleyError
from parley.files import write_json
from parley.progress import progress
from parley.settings import Settings, settings
from parley.typed import count

if TYPE_CHECKING:
    from calling.report import CallEvent


def main(argv: list[str]) -> int:
    """Place the calls and print what happened; status 1 when a call got no answer at all."""
    parser = ArgumentParser(prog="parley call", description=__doc__)
    parser.add_argument(
        "file", type=Path, nargs="*", help="what the caller says, one file after the other, in one call"
    )
    parser.add_argument("--recordings", type=Path, help="manifest (JSON lines); one call a recording")
    parser.add_argument("--speakers", default="", help="with --recordings: only these, separated by commas")
    parser.add_argument("--limit", type=count, help="with --recordings: at most so many")
    parser.add_argument("--parallel", type=count, default=1, help="calls at once")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--wire", default="twilio", help="what to speak: twilio (default), plain")
    parser.add_argument("--url", help="default ws://PARLEY_HOST:PARLEY_PORT/WIRE")
    parser.add_argument("--caller", default="", help="the caller's number; experiments see a pseudonym of it")
    parser.add_argument("--out", type=Path, help="folder for the stereo WAV and the timeline (default STATE/calls)")
    args = parser.parse_args(argv)
    if bool(args.file) == bool(args.recordings):
        raise ParleyError("give files or --recordings", where="parley call", mend="parley call --help")
    from calling.wires.registered import CALLER_WIRES

    wire = CALLER_WIRES.get(args.wire)
    if wire is None:
        raise ParleyError("no such wire", where=f"--wire {args.wire}", mend=f"one of {', '.join(CALLER_WIRES)}")
    site = settings()
    url = args.url or f"ws://{site.host}:{site.port}{wire.path}"
    return (_call_set if args.recordings else _call_once)(args, site, url, wire.rate)


def _call_once(args: argparse.Namespace, site: Settings, url: str, rate: int) -> int:
    from calling.caller import CallOptions, place_call
    from calling.report import summarise
    from calling.speech import speech_of_file

    recordings = [speech_of_file(path, rate) for path in args.file]
    folder = args.out or site.state_dir / "calls"
    name = "-".join(path.stem for path in args.file)[:60]
    wav, png = folder / f"{name}.wav", folder / f"{name}.png"
    console = Console(highlight=False, soft_wrap=True)
    options = CallOptions(url, caller=args.caller, token=site.read_secrets().site_token, wire=args.wire)
    report = asyncio.run(place_call(recordings, options, lambda event: show(console, event), wav=wav, png=png))
    summary = summarise([report])
    waits = summary["voice_to_voice_ms"]
    if waits:
        console.print(f"\nvoice to voice: median {waits['p50']:.0f} ms over {summary['answered']} answers")
    console.print(f"the call: {wav}\nthe turns: {png}")
    if args.json:
        write_json(args.json, summary)
    return 0 if summary["answered"] else 1


def _call_set(args: argparse.Namespace, site: Settings, url: str, rate: int) -> int:
    from calling.caller import CallOptions, place_calls
    from calling.report import summarise
    from calling.speech import load_speech
    from parley.recordings import of_speakers, read_recordings

    speakers = [name for name in args.speakers.split(",") if name]
    listed = of_speakers(read_recordings(args.recordings, needs=()), speakers, args.recordings)
    recordings = [load_speech(recording, rate) for recording in listed[: args.limit]]
    with progress("calls", len(recordings)) as bar:
        reports = asyncio.run(
            place_calls(
                recordings,
                CallOptions(url, token=site.read_secrets().site_token, wire=args.wire),
                parallel=args.parallel,
                on_call=lambda *_: bar.advance(),
            )
        )
    summary = summarise(reports)
    for key in ("command_acceptance", "calls", "answered"):
        print(f"{key} {summary[key]}")
    print(f"voice_to_voice_ms {summary['voice_to_voice_ms']}")
    if args.json:
        write_json(args.json, summary)
    return 0 if summary["answered"] else 1


def show(console: Console, event: CallEvent) -> None:
    """Print one event of a call, as it happens."""
    line = _line(event.kind, event.data)
    if line:
        console.print(f"[dim]{event.at_s:7.2f}[/] {line}")


def _line(kind: str, data: Any) -> str:
    if kind == "call":
        versions = " ".join(f"{stage}/{version}" for stage, version in data["versions"].items())
        return f"[bold]call[/] {data['call_id'][:8]}  release {data['release']}  {versions}"
    if kind == "partial" and data["text"]:
        return f"[cyan]  ... {escape(data['text'])}[/]"
    if kind == "transcript":
        mark = "" if data["accepted"] else "  [yellow](not understood)[/]"
        return f"[bold cyan]caller[/] {escape(data['text'])}  [dim]{data['confidence']:.2f}[/]{mark}"
    if kind == "understanding":
        slots = ", ".join(f"{k}={v}" for k, v in data["slots"].items())
        return f"       [magenta]{data['intent']}[/] {escape(slots)}  [dim]{data['confidence']:.2f}[/]"
    if kind == "reply":
        return f"[bold green]bot[/]    {escape(data['text'])}"
    if kind == "answer":
        return f"       [bold]voice to voice {data['voice_to_voice_ms']:.0f} ms[/]"
    if kind == "turn":
        names = {"stt_ms": "STT", "nlu_ms": "NLU", "nlg_ms": "NLG", "tts_first_ms": "TTS"}
        parts = [f"{label} {data[key]:.0f}" for key, label in names.items() if data.get(key) is not None]
        return f"       [dim]{'  '.join(parts)} ms[/]" if parts else ""
    if kind == "interrupted":
        return f"       [yellow]interrupted; heard: {escape(data['heard'])}[/]"
    return {"clear": "", "no_answer": "[red]no answer[/]", "end": f"[bold]end[/] {data.get('reason', '')}"}.get(
        kind, ""
    )
