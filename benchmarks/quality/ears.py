"""Who hears which recording: a release hears everybody, a run of the cross-validation whom it never learned from.

async with AsyncExitStack() as stack:
    ears = await make_ears("heard", "barista", runs, stack)
    heard = await unheard(ears, recordings)[0][1].hear(recording, pcm)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality.sphinx import Sphinx, jsgf
from judging.slu import Heard, learned_from, listener_of
from models.contracts import SttClient
from models.pool import ClientPool
from models.splits import fold_of, split_of
from models.stt.client import PhoneCtcClient
from models.stt.evaluate import decode
from orchestrator.stages import Stages
from parley.audio import TELEPHONE_RATE, Pcm
from parley.bot import load_bot
from parley.bot.grammar import Grammar
from parley.bundle import VersionRef
from parley.errors import ParleyError
from parley.recordings import Recording
from parley.runs import Run
from parley.serving.engine import Engine
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from parley.settings import settings
from registry.reading import release_of
from registry.releasing.releases import Release

Hear = Callable[[Recording, Pcm], Awaitable[Heard]]


@dataclass(frozen=True)
class Ear:
    """A system, and whom it may be judged on."""

    hear: Hear
    fold: str = ""
    """``none`` or a fold's number: the people kept for testing there. Empty: everybody."""
    seed: int = 7
    release: Release | None = None
    """Whose STT may know recordings."""

    def judged_on(self, speaker: str) -> bool:
        """Whether the system never learned from the speaker, as far as the name tells."""
        if not self.fold:
            return True
        if self.fold == "none":
            return split_of(speaker, self.seed) == "test"
        return fold_of(speaker, self.seed) == int(self.fold)


class RunPool(ClientPool):
    """The repository's clients, but a run's own STT."""

    def __init__(self, repo: Path, engine: Engine, stt: SttClient) -> None:
        super().__init__(repo, engine)
        self._of_run = stt

    async def stt(self, ref: VersionRef) -> SttClient:
        """The run's, whichever version is asked for."""
        return self._of_run


async def make_ears(system: str, bot_name: str, runs: Sequence[Path], stack: AsyncExitStack) -> list[Ear]:
    """The release's ear or the peer's, or an ear for each run.

    Raises:
        ParleyError: a run keeps nobody for testing, or has no bundle.
    """
    bot, site = load_bot(bot_name), settings()
    release = release_of(site, bot.name)
    engine = await stack.enter_async_context(OnnxEngine(site.repo_dir, Trust.of(site)))
    if system == "sphinx":
        peer = Sphinx(jsgf(bot), Grammar(bot).words())

        async def by_peer(recording: Recording, pcm: Pcm) -> Heard:
            return await _understood(stages, peer.hear(recording.speech(pcm, TELEPHONE_RATE)))

        stages = listener_of(bot_name, engine, release).stages
        return [Ear(by_peer)]
    if not runs:
        client = await ClientPool(site.repo_dir, engine).stt(release.stages["stt"])
        return [Ear(_hearing(system, bot_name, release, engine, client), release=release)]
    ears = []
    for path in runs:
        run = Run.open(path)
        fold = str(run.params.get("fold", "none"))
        if fold not in ("none", *map(str, range(5))) or not run.bundle_path.is_dir():
            raise ParleyError(
                "not an exported run that kept people for testing", where=str(path),
                mend="train with --fold N (or none), then export",
            )  # fmt: skip
        own = await stack.enter_async_context(OnnxEngine.from_bundle(run.bundle_path))
        client = PhoneCtcClient(run.bundle_path, own, "", 1)
        hear = _hearing(system, bot_name, release, engine, client)
        ears.append(Ear(hear, fold, int(run.params["seed"])))
    return ears


def _hearing(system: str, bot_name: str, release: Release, engine: Engine, client: SttClient) -> Hear:
    listener = listener_of(bot_name, engine, release, RunPool(settings().repo_dir, engine, client))

    async def by_call(recording: Recording, pcm: Pcm) -> Heard:
        return await listener.hear(pcm)

    async def by_marks(recording: Recording, pcm: Pcm) -> Heard:
        transcript = await decode(client, recording.speech(pcm, TELEPHONE_RATE))
        return await _understood(listener.stages, transcript.text if transcript.accepted else "")

    return by_call if system == "heard" else by_marks


async def _understood(stages: Stages, text: str) -> Heard:
    meant = (await stages.understand(text)).value if text else None
    if meant is None or meant.out_of_scope:
        return Heard(text, "", {}, 1)
    return Heard(text, meant.intent, dict(meant.slots), 1)


def ear_for(ears: Sequence[Ear], speaker: str) -> Ear | None:
    """The first ear that may be judged on a speaker."""
    return next((ear for ear in ears if ear.judged_on(speaker)), None)


def unheard(ears: Sequence[Ear], recordings: Sequence[Recording]) -> list[tuple[Recording, Ear]]:
    """The recordings on which an ear may be judged, each with that ear.

    Raises:
        ParleyError: there is none.
    """
    found = [(one, ear) for one in recordings if (ear := ear_for(ears, one.speaker)) is not None]
    if found and (release := found[0][1].release):
        learned = learned_from(settings().repo_dir, release.stages["stt"], [one for one, _ in found])
        found = [pair for pair, known in zip(found, learned, strict=True) if not known]
    if not found:
        raise ParleyError(
            "no recording is left that these models did not learn from", where=recordings[0].where.rpartition(":")[0],
            mend="recordings of other people, or --runs with the runs of a cross-validation",
        )  # fmt: skip
    return found
