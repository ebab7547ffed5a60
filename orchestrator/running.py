"""A running site, for the verbs that need one: configuration, Triton with a supervisor, the Ray Serve application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.markup import escape

from orchestrator.app import RunningApp, refuse_strangers, start_app
from parley.bot import load_bot
from parley.bundle import FAMILIES
from parley.errors import ParleyError
from parley.serving.triton_server import TritonServer
from parley.settings import Settings
from registry.releasing import aliases, releases, stale
from registry.releasing.readiness import verify
from registry.releasing.releases import Release
from registry.releasing.seeding import seed_bot
from registry.served import Keeper, ServedView
from registry.site import Registry
from registry.writing import open_for_writing

_READY_WITHIN_S = 90.0


@contextmanager
def running_site(bot: str, site: Settings, console: Console, *, replicas: int = 1) -> Iterator[RunningApp]:
    """Serve ``bot`` while the block runs; everything is stopped afterwards, each part by its own process id.

    Raises:
        ParleyError: a part does not start, or the release is not ready in time; says which part and how to mend it.
    """
    refuse_strangers(site)
    with ExitStack() as until_end:
        registry = until_end.enter_context(open_for_writing(site))
        release = check_release(registry, bot)
        for note in notes_on(registry, release):
            console.print(f"[yellow]note[/] {escape(note)}")
        if site.engine == "triton":
            until_end.enter_context(served_models(registry, release, console))
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


@contextmanager
def served_models(registry: Registry, release: Release, console: Console) -> Iterator[None]:
    """Serve what is wanted of a bot's models and keep it so: on a server of this site, or on the one that
    ``PARLEY_TRITON_GRPC`` names.

    Args:
        release: the champion; it answers when the block begins.

    Raises:
        ParleyError: no server, or it does not take the release.
    """
    site = registry.site
    view = ServedView(registry, [release.bot])
    own = None if site.triton_grpc else TritonServer.from_settings(site, leave_out=view.leave_out)
    began = time.monotonic()
    with ExitStack() as until_end:
        if own:
            own.refuse_second()
            until_end.callback(own.stop)
        with console.status("starting Triton" if own else f"loading models into {site.triton_grpc}"):
            for problem in view.prepare():
                console.print(f"[yellow]left out[/] {problem}")
            if own:
                own.start()
                own.supervise()
            view.ensure(release.refs)
        for name, reason in own.refused.items() if own else ():
            console.print(f"[red]refused[/] {name}: {reason}")
        where = own.grpc_address if own else site.triton_grpc
        served = sum(len(numbers) for numbers in view.folder.linked().values())
        console.print(f"Triton serves {served} versions at {where} ({_since(began)})")
        until_end.enter_context(Keeper(view))
        yield


def check_release(registry: Registry, bot: str) -> Release:
    """The champion, looked at before anything is started: a call needs all four stages, each whole.

    Raises:
        ParleyError: the bot has no release, a stage has no version, or a version's file is missing, altered or added;
            names it. Where there is no release, says why: what is wrong in the bot's file, or what is not published.
    """
    with registry.catalogue.read() as c:
        known = aliases.newest_change(c, bot) is not None
    if not known:
        load_bot(bot, registry.site)
        seed_bot(registry, bot)
    with registry.catalogue.read() as c:
        release = releases.champion(c, bot)
    lacking = [family for family in FAMILIES if family not in release.stages]
    if lacking:
        raise ParleyError(
            f"no version for {', '.join(lacking)}: such a bot cannot take calls",
            where=str(release),
            mend="train and publish it, then: parley releases create, parley promote",
        )
    verify(registry, release.stages.values())
    return release


def notes_on(registry: Registry, release: Release) -> list[str]:
    """What callers will not hear although the bot's file, or the release's own, says it; in words."""
    with registry.catalogue.read() as c:
        text = releases.dialogue_text(c, release.dialogue_digest)
        return [*stale.drift(registry, c, release), *map(str, stale.stale_versions(registry, c, release, text))]


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
