"""What the serving side of each family is asked, and what it answers: the contract between calls and models.

    client = await pool.stt(ref)                       # an SttClient, whoever implements it
    stream = client.new_stream()
    await stream.accept(pcm)                           # int16 [n], at client.sample_rate
    transcript = await stream.finish()

A version's manifest names the implementation that reads it (`phone-ctc-grammar/1`); `models.implementations` knows
the class behind each name, and each class is one of the four clients below. Calls share a client: it holds its
version's assets and no call's state. Nothing here or behind it imports torch.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from parley.audio import Pcm
from parley.bundle import Family, VersionRef
from parley.serving.engine import Engine


@dataclass(frozen=True)
class TimedWord:
    """A word and when it is said, in seconds from the first sample of its utterance or text."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Transcript:
    """What was heard in an utterance."""

    text: str
    """Words in lower case, one space between them."""
    confidence: float
    """Probability that the text is right, calibrated on held-out speakers; 0 to 1."""
    accepted: bool
    """False when the speech is likely none of the bot's sentences: ask again instead of acting on it."""
    words: tuple[TimedWord, ...] = ()


@dataclass(frozen=True)
class Understanding:
    """What a sentence means to a bot."""

    intent: str
    slots: dict[str, str] = field(default_factory=dict)
    """Slot to canonical value, in the order said."""
    confidence: float = 0.0
    """Calibrated probability that intent and slots are right, 0 to 1."""
    out_of_scope: bool = False


@dataclass(frozen=True)
class Reply:
    """What the bot says."""

    text: str
    fallback: bool = False
    """Whether the network's sentence failed the check and a template of the bot was said instead."""


@dataclass(frozen=True)
class Piece:
    """A stretch of the bot's audio: the words that end in it, and whether it is the text's last."""

    pcm: Pcm
    """int16 ``[n]``, mono."""
    sample_rate: int
    """Samples of a second of it, in Hz."""
    words: tuple[TimedWord, ...] = ()
    """Their times count from the first sample of the whole text."""
    last: bool = True


class SttStream(Protocol):
    """One utterance on its way through the STT."""

    async def accept(self, pcm: Pcm) -> None:
        """Take the next samples: int16 ``[n]`` at the client's sample rate, any number of them, none too.

        Raises:
            EngineError: they could not be scored. The stream keeps them and its state: ``accept`` of nothing tries
                again, unless it is `EngineRejected`, which is for good.
        """
        ...

    def partial(self) -> str:
        """The best guess so far. Costs nothing until it is asked for."""
        ...

    async def finish(self) -> Transcript:
        """No more audio comes: decide.

        Raises:
            EngineError: as `accept`.
        """
        ...


class SttClient(Protocol):
    """Hears utterances."""

    @property
    def sample_rate(self) -> int:
        """Of the audio that its streams take, in Hz."""
        ...

    def new_stream(self) -> SttStream:
        """Begin an utterance."""
        ...


class NluClient(Protocol):
    """Understands sentences."""

    async def parse(self, text: str) -> Understanding:
        """Understand one sentence, as a transcript writes it. An empty one is out of scope.

        Raises:
            EngineError: the model did not answer.
        """
        ...


class NlgClient(Protocol):
    """Words what the bot means."""

    async def generate(self, act: str, slots: dict[str, str]) -> Reply:
        """Word an act of the bot's dialogue with these canonical values.

        Raises:
            EngineError: the model did not answer.
            ParleyError: the act is unknown, or a slot is missing that all its replies need.
        """
        ...


class TtsClient(Protocol):
    """Speaks texts."""

    @property
    def sample_rate(self) -> int:
        """Of the audio that it gives, in Hz."""
        ...

    def synthesise(self, text: str) -> AsyncGenerator[Piece, None]:
        """Speak a text, a piece at a time, as they are made. A text with nothing to say gives one empty last piece.

        The same text gives the same samples. Closing the generator cancels what it asked for.

        Raises:
            EngineError: the model could not answer; pieces given so far stand.
        """
        ...


Client = SttClient | NluClient | NlgClient | TtsClient
ClientT = TypeVar("ClientT", bound=Client, covariant=True)


class Factory(Protocol[ClientT]):
    """Makes the client of a version: what an implementation registers, usually its class."""

    def __call__(self, bundle: Path, engine: Engine, model: str, version: int, /) -> ClientT:
        """Read the version's assets from ``bundle``, which is gone afterwards; ``engine`` runs its graph.

        Raises:
            ParleyError: an asset is missing or damaged.
        """
        ...


class Clients(Protocol):
    """Gives the clients of versions (`models.pool.ClientPool` is one). Reading a version never holds up an event loop.

    Every method raises `ParleyError` where the version is not published, is not what was, or is read by an
    implementation that this Parley does not have.
    """

    async def stt(self, ref: VersionRef) -> SttClient:
        """Of an STT version."""
        ...

    async def nlu(self, ref: VersionRef) -> NluClient:
        """Of an NLU version."""
        ...

    async def nlg(self, ref: VersionRef) -> NlgClient:
        """Of an NLG version."""
        ...

    async def tts(self, ref: VersionRef) -> TtsClient:
        """Of a TTS version."""
        ...

    def read(self, family: Family, ref: VersionRef) -> None:
        """Have a version's client ready, from a thread that may wait for it."""
        ...


Implementations = Mapping[str, Factory[ClientT]]
"""Name to factory, of one family."""
