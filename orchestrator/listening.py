"""The caller's side of a call up to turn taking: what comes from the gateway becomes events for whoever answers them.

    reader    audio -> echo guard -> voice activity and turns; interrupts the bot at once
    watcher   notices by the wall clock that no audio comes: ends the turn, asks again, gives up

Both end by saying why the call is over.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from orchestrator.echo import EchoGuard
from orchestrator.hearing import Ear, HoldOver
from orchestrator.keys import Keyed, KeyPad
from orchestrator.recent_audio import RecentAudio
from orchestrator.services import CallParams
from orchestrator.speaker import Speaker
from orchestrator.turn_taking import BargeIn, NoInput, TurnEvent, TurnTaker
from orchestrator.wall_clock import CALL_RATE, Clock, Elapsed, Patience
from orchestrator.wires.contract import Audio, GatewayCall, HungUp, Key, Played

WATCH_S = 0.2
MAX_EVENTS = 2000
"""Events that may wait to be acted on, 40 s of speech: more come only while a stage hangs."""

Occurrence = TurnEvent | NoInput | HoldOver | Keyed
"""Something to act on."""


class Conversation(Protocol):
    """What a listener has to know of the conversation, and what it may do to it."""

    @property
    def answering(self) -> bool:
        """Whether an answer is being made."""
        ...

    @property
    def most_digits(self) -> int | None:
        """Digits of the longest number that has a place now; None where none has."""
        ...

    @property
    def asks_digits(self) -> bool:
        """Whether a number is what was asked for."""
        ...

    async def settle(self) -> None:
        """Time has passed: what is over now, is."""
        ...

    async def interrupt(self) -> None:
        """The caller talks over the bot."""
        ...


def missing_samples(call: GatewayCall, clock: Clock) -> int:
    """Samples' worth of time since audio came last."""
    return round((clock.now() - call.audio_at) * CALL_RATE)


class Listener:
    """Listens in one call.

    Args:
        call: where audio, keys and marks come from.
        clock: the wall clock.
        elapsed: the call's time by it.
        speaker: whose marks come back, and who may be interrupted.
        echo: knows the bot's own voice.
        ear: says when an unfinished sentence has waited for long enough.
        recent: is given all audio.
        conversation: what the caller may interrupt.
    """

    def __init__(
        self,
        call: GatewayCall,
        params: CallParams,
        clock: Clock,
        elapsed: Elapsed,
        speaker: Speaker,
        echo: EchoGuard,
        ear: Ear,
        recent: RecentAudio,
        conversation: Conversation,
    ) -> None:
        self.events: asyncio.Queue[Occurrence] = asyncio.Queue()
        self.lost_events = 0
        self.taker = TurnTaker(params.turn)
        self.patience = Patience(elapsed, params.turn.no_input_s)
        self._call = call
        self._params = params
        self._clock = clock
        self._elapsed = elapsed
        self._speaker = speaker
        self._echo = echo
        self._ear = ear
        self._recent = recent
        self._conversation = conversation
        self._keys = KeyPad()
        self._listening = asyncio.Lock()
        self._asking = False
        """Whether a `NoInput` waits to be acted on."""

    async def read(self) -> str:
        """Everything the gateway sends, until it says that the call is over: why."""
        while True:
            event = await anext(self._call)
            if isinstance(event, Audio):
                async with self._listening:
                    await self._hear(event)
            elif isinstance(event, Played):
                self._speaker.echoed(event.mark)
            elif isinstance(event, Key):
                await self._press(event.key)
            elif isinstance(event, HungUp):
                return event.reason

    async def watch(self) -> str:
        """The wall clock beside the samples: what must go on when none come. Until nothing at all comes: why."""
        params = self._params
        starved_s = max(params.starved_s, params.turn.end_of_turn_ms / 1000)
        while True:
            quiet_s = self._clock.now() - self._call.audio_at
            await self._clock.sleep(max(WATCH_S, starved_s - quiet_s))
            if self._clock.now() - self._call.heard_at >= params.stall_timeout_s:
                return "stalled"
            if self._clock.now() - self._call.audio_at >= starved_s:
                async with self._listening:
                    await self._starve()

    def asked(self) -> None:
        """The `NoInput` that waited is acted on."""
        self._asking = False

    def may_ask(self) -> bool:
        """Whether the caller has said nothing that counts for so long that he is to be asked again."""
        busy = self._ear.holding or self._keys.collecting or self._conversation.answering
        return not busy and self.patience.over(self._speaker.playout.until)

    async def _hear(self, audio: Audio) -> None:
        pcm = self._echo.clean(audio.samples)
        events = self.taker.push(pcm, bot_speaking=self._speaker.talking, own_voice=self._echo.revealed)
        self._recent.add(pcm)
        for event in events:
            if isinstance(event, BargeIn):
                await self._conversation.interrupt()
            else:
                self._post(event)
        self._wait()
        await self._conversation.settle()

    async def _starve(self) -> None:
        """No audio comes. Its time passes all the same; if it comes after all, it is heard then, and counted once."""
        for audio in self._call.flush():
            await self._hear(audio)
            await asyncio.sleep(0)
        await self._conversation.settle()
        for event in self.taker.cut():
            self._post(event)
        self._wait(missing_samples(self._call, self._clock))

    def _wait(self, missing: int = 0) -> None:
        """What happens when nothing does, for long enough. ``missing``: samples that should have come by now."""
        if (expired := self._ear.hold_expired(self.taker, missing)) is not None:
            self._post(expired)
        if (keyed := self._keys.expired(self._elapsed.samples())) is not None:
            self._post(keyed)
        if not self._asking and not self.taker.speaking and self.may_ask():
            self._asking = self._post(NoInput(self.taker.samples))

    def _post(self, event: Occurrence) -> bool:
        """Give the thinker something to act on; whether there was room for it."""
        if self.events.qsize() >= MAX_EVENTS:
            self.lost_events += 1
            return False
        self.events.put_nowait(event)
        return True

    async def _press(self, key: str) -> None:
        self.patience.restart()
        most, asked = self._conversation.most_digits, self._conversation.asks_digits
        keyed = self._keys.press(key, self._elapsed.samples(), most=most, asked=asked)
        if self._keys.collecting and self._speaker.talking:
            await self._conversation.interrupt()
        if keyed is not None:
            self._post(keyed)
