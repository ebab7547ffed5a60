"""A call in a language whose letters are not Latin: from its AI sentence to its goodbye, and what is said when all is
down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fake_models
import pytest
from call_fakes import FakeGateway, fake_services, run
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


def said(bot: Bot, step: Step) -> str:
    return " ".join(realise(bot, act.name, dict(act.slots)) for act in step.acts)


def test_a_call_goes_from_its_ai_sentence_to_its_goodbye(
    bot: Bot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the wire and fake models, which know what a tone means."""
    file = tmp_path / "bot.yaml"
    file.write_text(BOT, encoding="utf-8")
    words = {
        300: ("θέλω μία λεμονάδα", "order"),
        400: ("τραπέζι είκοσι ένα", "inform"),
        500: ("ναι", "affirm"),
        600: ("αντίο", "goodbye"),
    }
    for hertz, (text, intent) in words.items():
        assert Grammar(bot, [intent]).accepts(text)
        monkeypatch.setitem(fake_models.SENTENCES, hertz, (text, intent, spot(bot.slots, text, bot.speech)))
    services, _ = fake_services(bot_name=str(file))
    heard: list[str] = []

    async def caller(gateway: FakeGateway) -> None:
        heard.append((await gateway.hear_reply(1))["text"])
        for turn, hertz in enumerate(words, start=2):
            heard.append((await gateway.turn(hertz, turn))["text"])

    _, reason = run(services, caller)

    assert bot.speech.disclosure.is_in(heard[0])
    assert heard[1:] == [
        "Σε ποιο τραπέζι, για λεμονάδα;",
        "Μία λεμονάδα στο τραπέζι δύο ένα, σωστά;",
        "Φέρνω λεμονάδα στο δύο ένα. Κάτι άλλο;",
        "Αντίο σας.",
    ]
    assert reason == "goodbye"


def test_keyed_digits_fill_its_slot(bot: Bot) -> None:
    dialogue = Dialogue(bot)

    step = dialogue.keyed(State(phase="filling", task="order", form={"drink": "τσάι"}), "21")

    assert said(bot, step) == "Ένα τσάι στο τραπέζι δύο ένα, σωστά;"


def test_the_last_resort_is_a_voice_of_its_language(bot: Bot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, asked = tmp_path / "espeak-ng", tmp_path / "asked"
    program.write_text(f'#!/bin/sh\necho "$*" > {asked}\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    prompts = Prompts(bot)
    prompts.render_last_resort()

    assert len(prompts.apology().pcm) and asked.read_text().split()[:2] == ["-v", "el"]
    assert asked.read_text().rstrip().endswith("Συγγνώμη, έχουμε βλάβη.")
