"""A call in a language whose letters are not Latin: from its AI sentence to its goodbye, and what is said when all is
down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from toy_language import BOT, GREEK

from orchestrator.dialogue import Dialogue, State, Step
from orchestrator.prompts import Prompts
from parley.bot import Bot
from parley.bot.grammar import Grammar
from parley.bot.load import parse_bot
from parley.bot.replies import realise
from parley.bot.slots import spot
from parley.language import with_language


@pytest.fixture
def bot() -> Iterator[Bot]:
    with with_language(GREEK):
        yield parse_bot(BOT, "bot.yaml")


@dataclass(frozen=True)
class Meant:
    """What a sentence means by the bot's grammar."""

    intent: str
    slots: dict[str, str] = field(default_factory=dict)
    confidence: float = 1.0
    out_of_scope: bool = False


def understood(bot: Bot, text: str) -> Meant:
    intent = next((name for name in bot.intents if Grammar(bot, [name]).accepts(text)), "")
    return Meant(intent, spot(bot.slots, text, bot.speech), out_of_scope=not intent)


def said(bot: Bot, step: Step) -> str:
    return " ".join(realise(bot, act.name, dict(act.slots)) for act in step.acts)


def test_a_call_goes_from_its_ai_sentence_to_its_goodbye(bot: Bot) -> None:
    dialogue = Dialogue(bot)
    step = dialogue.start()
    heard = [said(bot, step)]

    for text in ("θέλω μία λεμονάδα", "τραπέζι δύο ένα", "ναι", "αντίο"):
        step = dialogue.understood(step.state, understood(bot, text))
        heard.append(said(bot, step))

    assert bot.speech.disclosure.is_in(heard[0])
    assert heard[1:] == [
        "Σε ποιο τραπέζι, για λεμονάδα;",
        "Μία λεμονάδα στο τραπέζι δύο ένα, σωστά;",
        "Φέρνω λεμονάδα στο δύο ένα. Κάτι άλλο;",
        "Αντίο σας.",
    ]
    assert step.end == "goodbye"


def test_keyed_digits_fill_its_slot(bot: Bot) -> None:
    dialogue = Dialogue(bot)

    step = dialogue.keyed(State(phase="filling", task="order", form={"drink": "τσάι"}), "21")

    assert said(bot, step) == "Ένα τσάι στο τραπέζι δύο ένα, σωστά;"


def test_the_last_resort_is_a_voice_of_its_language(bot: Bot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, asked = tmp_path / "espeak-ng", tmp_path / "asked"
    program.write_text(f'#!/bin/sh\necho "$*" > {asked}\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    tones = Prompts(bot).last_resort()

    assert len(tones.pcm) and asked.read_text().split()[:2] == ["-v", "el"]
    assert asked.read_text().rstrip().endswith("Συγγνώμη, έχουμε βλάβη.")
