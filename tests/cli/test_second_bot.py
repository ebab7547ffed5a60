"""A second bot costs no Python: the bank's own NLU and NLG hold a conversation through the shared dialogue."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starters import copy_starters

from models.pool import ClientPool
from orchestrator.dialogue import Act, Dialogue
from orchestrator.stages import Stages
from parley.bot import load_bot
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from parley.settings import Settings
from registry.reading import release_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    """The bank's starter versions in a repository of their own."""
    repo = tmp_path / "triton_repo"
    copy_starters("bank", repo)
    return Settings(bots_dir=ROOT / "bots", repo_dir=repo, state_dir=tmp_path / "var", trusted_keys_dir=ROOT / "keys")


async def _converse(site: Settings, said: list[str]) -> list[tuple[list[Act], list[str], str]]:
    bot = load_bot("bank", site)
    dialogue = Dialogue(bot)
    answers = []
    async with OnnxEngine(site.repo_dir, Trust.of(site)) as engine:
        versions = release_of(site, "bank").stages
        stages = Stages(bot, ClientPool(site.repo_dir, engine), versions, None)
        step = dialogue.start()
        for text in said:
            meant = (await stages.understand(text)).value
            assert meant is not None
            step = dialogue.understood(step.state, meant)
            answers.append((list(step.acts), [(await stages.phrase(act)).value for act in step.acts], step.end))
    return answers


def test_the_bank_blocks_a_card_after_it_was_confirmed(site: Settings) -> None:
    answers = asyncio.run(_converse(site, ["i lost my credit card", "yes", "goodbye"]))

    acts = [[act.name for act in step] for step, _, _ in answers]
    assert acts[0][-1].startswith("confirm.") and acts[1][0].startswith("done.")
    assert "credit" in " ".join(answers[0][1])
    assert answers[2][2] == "goodbye"


def test_the_bank_asks_for_what_is_missing_and_answers_from_its_file(site: Settings) -> None:
    answers = asyncio.run(_converse(site, ["what's my balance", "checking", "one two three four", "yes"]))

    asked = [step[-1].name for step, _, _ in answers[:2]]
    told = next(act for step, _, _ in answers for act in step if act.name == "done.balance")
    assert asked == ["ask.account", "ask.accountNumber"]
    assert dict(told.slots)["answer"] in " ".join(text for _, texts, _ in answers for text in texts)


def test_something_else_entirely_is_not_understood(site: Settings) -> None:
    answers = asyncio.run(_converse(site, ["my cat has climbed up the tallest tree in the garden"]))

    assert answers[0][0][0].name == "no_match.1"
