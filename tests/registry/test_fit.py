"""Which versions may answer one call together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parley.bot import load_bot
from parley.bundle import Manifest
from registry.releasing.fit import DoesNotFit, check_dialogue, check_fit, check_pairs

LANGUAGES = {"nlu": "en-US", "nlg": "de-DE"}


def manifest(stage: str, version: int = 1, bot: str = "barista", **facts: Any) -> Manifest:
    return Manifest(family=stage, bot=bot, model=f"{bot}_{stage}", version=version, inputs=[], outputs=[], **facts)  # type: ignore[arg-type]


def test_what_is_required_must_be_provided_by_that_stage() -> None:
    nlu = manifest("nlu", requires={"stt.casing": "lower"})

    check_fit({"stt": manifest("stt", provides={"casing": "lower"}), "nlu": nlu})
    with pytest.raises(DoesNotFit, match=r"barista_nlu 1: it needs stt.casing = 'lower', but barista_stt 2 provides"):
        check_fit({"stt": manifest("stt", 2, provides={"casing": "upper"}), "nlu": nlu})
    with pytest.raises(DoesNotFit, match="does not say"):
        check_fit({"stt": manifest("stt"), "nlu": nlu})


def test_a_stage_that_is_not_there_is_not_asked() -> None:
    check_fit({"nlu": manifest("nlu", requires={"stt.casing": "lower"})})


@pytest.mark.parametrize(
    ("manifests", "says"),
    [
        ({"stt": manifest("nlu")}, "cannot be the stt"),
        ({"stt": manifest("stt"), "nlu": manifest("nlu", bot="bank")}, "not of one bot"),
        (
            {stage: manifest(stage, constants={"language": language}) for stage, language in LANGUAGES.items()},
            "not of one language",
        ),
        ({"nlu": manifest("nlu", requires={"casing": "lower"})}, "names no stage"),
    ],
    ids=["family", "bot", "language", "requirement"],
)  # fmt: skip
def test_what_cannot_belong_together_is_named(manifests: dict[str, Manifest], says: str) -> None:
    with pytest.raises(DoesNotFit, match=says):
        check_fit(manifests)


def test_every_pair_that_experiments_may_draw_must_fit() -> None:
    plain, lower = manifest("stt", 1), manifest("stt", 2, provides={"casing": "lower"})
    demanding = manifest("nlu", 3, requires={"stt.casing": "lower"})

    check_pairs({"stt": [plain, lower], "nlu": [manifest("nlu")]})
    check_pairs({"stt": [lower], "nlu": [manifest("nlu"), demanding]})
    with pytest.raises(DoesNotFit, match="barista_nlu 3"):
        check_pairs({"stt": [plain, lower], "nlu": [manifest("nlu"), demanding]})


def test_the_dialogue_may_name_only_what_was_learned(tmp_path: Path) -> None:
    bot = load_bot("barista")
    knows = {"intents": [*bot.intents, "out_of_scope"]}

    check_dialogue(bot, {"nlu": manifest("nlu", constants=knows)}, {})
    check_dialogue(bot, {"nlu": manifest("nlu")}, {})  # nothing tells
    (tmp_path / "labels.json").write_text(json.dumps({"intents": sorted(set(bot.intents) - {"affirm"})}))
    told = manifest("nlu", files={"labels.json": "0" * 64})
    with pytest.raises(DoesNotFit, match="intents it never learned: affirm"):
        check_dialogue(bot, {"nlu": told}, {"nlu": tmp_path})
    other = manifest("nlu", files={"labels.json": "0" * 64}, implementation="keyword/1")
    check_dialogue(bot, {"nlu": other}, {"nlu": tmp_path})  # another implementation's file of that name tells nothing
    with pytest.raises(DoesNotFit, match="acts it never learned: .*greet"):
        check_dialogue(bot, {"nlg": manifest("nlg", constants={"acts": ["goodbye"]})}, {})
    with pytest.raises(DoesNotFit, match="made for the bot bank"):
        check_dialogue(bot, {"nlu": manifest("nlu", bot="bank")}, {})


@pytest.mark.parametrize("bot", ["barista", "bank"])
def test_the_starter_versions_know_their_dialogue(bot: str) -> None:
    folders = {stage: Path("triton_repo") / f"{bot}_{stage}" / "1" for stage in ("nlu", "nlg")}
    manifests = {
        stage: Manifest.model_validate_json((folder / "manifest.json").read_text()) for stage, folder in folders.items()
    }

    check_fit(manifests)
    check_dialogue(load_bot(bot), manifests, folders)
