"""A running site, for the verbs that need one: configuration, Triton with a supervisor, the Ray Serve application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from orchestrator.app import RunningApp, start_app
from parley.bundle import FAMILIES, verify_files
from parley.errors import ParleyError
from parley.serving.triton_server import TritonServer
from parley.settings import Settings
from registry.model_config import write_configs
from registry.releases import Release, champion_of

_READY_WITHIN_S = 90.0


@contextmanager
def running_site(bot: str, site: Settings, console: Console, *, replicas: int = 1) -> Iterator[RunningApp]:
    """Serve ``bot`` while the block runs; everything is stopped afterwards, each part by its own process id.

    Raises:
        ParleyError: a part does not start, or the release is not ready in time; says which part and how to mend it.
    """
    release = champion_of(site, bot)
    check_release(bot, release, site)
    problems: list[ParleyError] = []
    write_configs(site.repo_dir, problems)
    for problem in problems:
        console.print(f"[yellow]left out[/] {problem}")
    server = None
    if site.engine == "triton" and not site.triton_grpc:
        server = TritonServer.from_settings(site, models=sorted({ref.model for ref in release.stages.values()}))
    try:
        if server:
            began = time.monotonic()
            with console.status("starting Triton"):
                server.start()
            server.supervise()
            console.print(f"Triton serves {len(release.stages)} models at {server.grpc_address} ({_since(began)})")
            for model, reason in server.refused.items():
                console.print(f"[red]refused[/] {model}: {reason}")
        began = time.monotonic()
        with console.status("starting Ray Serve"):
            app = start_app(bot, site, replicas=replicas)
        try:
            with console.status("waiting for the models"):
                asyncio.run(_ready(app))
            console.print(f"Ray Serve answers calls at {app.address} ({_since(began)})")
            yield app
        finally:
            with console.status("stopping"):
                app.stop()
    finally:
        if server:
            server.stop()


def check_release(bot: str, release: Release, site: Settings) -> None:
    """Look at the release before anything is started: a call needs all four stages, each whole.

    Raises:
        ParleyError: a stage has no version, or a version's file is missing, altered or added; names it.
    """
    lacking = [family for family in FAMILIES if family not in release.stages]
    if lacking:
        raise ParleyError(
            f"no version for {', '.join(lacking)}: such a bot cannot take calls",
            where=str(release),
            mend="train and publish it, then: parley releases create, parley promote",
        )
    for ref in release.stages.values():
        verify_files(site.repo_dir / ref.model / str(ref.version))


async def _ready(app: RunningApp) -> None:
    import httpx

    deadline = time.monotonic() + _READY_WITHIN_S
    body: dict[str, object] = {}
    async with httpx.AsyncClient(trust_env=False) as client:
        while time.monotonic() < deadline:
            try:
                answer = await client.get(f"{app.http}/readyz", timeout=10.0)
                body = answer.json()
                if answer.status_code == 200:
                    return
            except (httpx.HTTPError, ValueError):
                pass
            await asyncio.sleep(0.2)
    stages = body.get("stages")
    lacking = [s for s, ok in stages.items() if not ok] if isinstance(stages, dict) else []
    raise ParleyError(
        f"not ready after {_READY_WITHIN_S:g} s" + (f"; not answering: {', '.join(lacking)}" if lacking else ""),
        where=app.http,
        mend="parley triton logs; parley doctor",
    )


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
