"""What a training leaves in its run directory: parameters that are checked, its bot, its lineage, and the options."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from models.configuration import Configuration, add_options, knob, options_of, said
from models.run_directory import Beginning, bot_of, check_data, kept_weights, lineage_of
from parley.arguments import ArgumentParser
from parley.bot import load_bot
from parley.errors import ParleyError
from parley.runs import Run

BARISTA = Path(__file__).parents[2] / "bots" / "barista" / "bot.yaml"


@dataclass(frozen=True)
class ToyConfig(Configuration):
    """A configuration with a field of every kind."""

    bot: str = field(metadata=said("name of a bot"))
    data: Path | None = knob(None, "dataset")
    seed: int = knob(7, "of every draw")
    steps: int = knob(10, "batches", least=1)
    lr: float = knob(0.1, "rate", least=0, most=1)
    minutes: float = knob(0.0, "limit", least=0)
    deep: bool = knob(False, "whether it is deep")
    kind: Literal["small", "large"] = knob("small", "of network")
    init: Path | None = knob(None, "weights to begin with")
    noise: Path | None = knob(None, "of a place")
    texts: tuple[Path, ...] = knob((), "others")
    hidden: int = 3


@pytest.fixture(autouse=True)
def _no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture
def bot_file(tmp_path: Path) -> Path:
    file = tmp_path / "mine" / "bot.yaml"
    file.parent.mkdir()
    shutil.copyfile(BARISTA, file)
    return file


def begun(config: ToyConfig, out: Path, *, resume: bool = False) -> Run:
    return Beginning("nlu", "barista", config, config.seed, load_bot(config.bot)).run(out, resume=resume)


def read(*arguments: str) -> ToyConfig:
    parser = ArgumentParser()
    add_options(parser, ToyConfig)
    return options_of(parser.parse_args(arguments), ToyConfig)


def test_the_options_of_a_command_line_are_the_fields_with_a_help_text() -> None:
    assert read("--bot", "barista") == ToyConfig("barista")
    given = read("--bot", "b", "--data", "d", "--deep", "true", "--kind", "large", "--texts", "a", "b", "--steps", "3")
    assert given == ToyConfig("b", Path("d"), deep=True, kind="large", texts=(Path("a"), Path("b")), steps=3)
    with pytest.raises(SystemExit):
        read("--bot", "b", "--hidden", "4")
    with pytest.raises(SystemExit):
        read()
    with pytest.raises(SystemExit):
        read("--bot", "b", "--deep", "yes")


@pytest.mark.parametrize(
    ("wrong", "says"), [({"steps": 0}, "steps: 0 is not at least 1"), ({"lr": 1.5}, "lr: 1.5 is not 0 to 1")]
)
def test_a_number_outside_its_range_is_refused_from_python_too(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(ParleyError, match=says):
        ToyConfig("barista", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ParleyError, match=says):
        options_of(Namespace(**{**vars(ToyConfig("barista")), **wrong}), ToyConfig)


def test_every_parameter_is_json_in_the_run(tmp_path: Path, bot_file: Path) -> None:
    config = ToyConfig(str(bot_file), data=Path("data"), texts=(Path("t"),))
    params = json.loads((begun(config, tmp_path / "run").path / "params.json").read_text())

    assert params["bot"] == "barista" and params["bot_path"] == str(bot_file)
    assert (params["family"], params["seed"], params["data"], params["texts"]) == ("nlu", 7, "data", ["t"])
    assert params["hidden"] == 3 and params["bot_digest"] == load_bot(bot_file).digest


def test_a_resumed_run_says_every_parameter_that_differs(tmp_path: Path) -> None:
    config = ToyConfig("barista", steps=8)
    begun(config, tmp_path)

    begun(replace(config, minutes=5.0, bot=str(BARISTA)), tmp_path, resume=True)
    with pytest.raises(ParleyError, match=r"steps = 8, not 9; deep = False, not True") as caught:
        begun(replace(config, steps=9, deep=True), tmp_path, resume=True)
    assert caught.value.mend == "give the same parameters, or another --out"
    with pytest.raises(ParleyError, match="seed = 7, not 8"):
        begun(replace(config, seed=8), tmp_path, resume=True)


def test_a_run_that_begins_anew_forgets_its_weights_before_its_parameters_change(tmp_path: Path) -> None:
    config, kept = ToyConfig("barista"), tmp_path / "best" / "state.json"
    run = begun(config, tmp_path)
    kept.parent.mkdir()
    kept.write_text("{}")

    begun(config, tmp_path, resume=True)
    assert kept_weights(run.path) == kept.parent
    begun(replace(config, steps=3), tmp_path)
    assert kept_weights(run.path) is None


def test_a_run_does_not_begin_with_its_own_weights(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="begin with its own weights"):
        begun(ToyConfig("barista", init=tmp_path / "run" / "." / ""), tmp_path / "run")


@pytest.mark.parametrize("place", ["init", "noise"])
def test_what_lay_at_a_place_counts_and_not_the_place(tmp_path: Path, place: str) -> None:
    content = _at(tmp_path / "here", place)
    content.write_bytes(b"one")
    config = replace(ToyConfig("barista"), **{place: tmp_path / "here"})  # type: ignore[arg-type]
    begun(config, tmp_path / "run")

    moved = (tmp_path / "here").rename(tmp_path / "there")
    config = replace(config, **{place: moved})  # type: ignore[arg-type]
    begun(config, tmp_path / "run", resume=True)
    _at(moved, place).write_bytes(b"two")
    with pytest.raises(ParleyError, match=f"{place}_digest = "):
        begun(config, tmp_path / "run", resume=True)
    with pytest.raises(ParleyError, match=f"{place}_digest = "):
        begun(ToyConfig("barista"), tmp_path / "run", resume=True)


def _at(path: Path, place: str) -> Path:
    """The file whose content counts: the weights of a run, or the file itself."""
    if place != "init":
        return path
    (path / "best").mkdir(parents=True, exist_ok=True)
    (path / "best" / "state.json").write_text("{}")
    return path / "best" / "model.safetensors"


@pytest.mark.parametrize(("begun_with", "goes_on"), [("a", True), ("b", False)])
def test_a_run_of_an_earlier_parley_has_no_digest_and_is_told_by_the_place(
    tmp_path: Path, begun_with: str, goes_on: bool
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"noise")
    config = ToyConfig("barista", noise=tmp_path / "a")
    file = begun(config, tmp_path / "run").path / "params.json"
    earlier = {**json.loads(file.read_text()), "noise": str(tmp_path / begun_with)}
    del earlier["noise_digest"]
    file.write_text(json.dumps(earlier))

    with contextlib.nullcontext() if goes_on else pytest.raises(ParleyError, match="noise_digest = unknown"):
        begun(config, tmp_path / "run", resume=True)


def test_a_resumed_run_of_a_bot_that_changed_is_refused(tmp_path: Path, bot_file: Path) -> None:
    config = ToyConfig(str(bot_file))
    begun(config, tmp_path / "run")
    _change(bot_file)

    with pytest.raises(ParleyError, match="bot_digest = "):
        begun(config, tmp_path / "run", resume=True)


def _change(bot_file: Path) -> None:
    text = bot_file.read_text()
    bot_file.write_text(text.replace("description: ", "description: Another. ", 1))


def test_the_bot_of_a_run_is_the_one_that_training_saw(tmp_path: Path, bot_file: Path) -> None:
    trained = load_bot(bot_file)
    run = begun(ToyConfig(str(bot_file)), tmp_path / "run")
    _change(bot_file)

    assert load_bot(bot_file) != trained
    assert bot_of(Run.open(run.path)) == trained
    bot_file.unlink()
    assert bot_of(Run.open(run.path)) == trained


def test_a_bot_in_a_run_that_was_edited_is_refused(tmp_path: Path, bot_file: Path) -> None:
    run = begun(ToyConfig(str(bot_file)), tmp_path / "run")
    kept = run.path / "bot.yaml"
    kept.write_text(kept.read_text().replace("latte", "tisane"))

    with pytest.raises(ParleyError, match="not the bot of the training"):
        bot_of(run)


def test_a_run_of_an_earlier_parley_takes_todays_bot_only_where_it_is_the_same(tmp_path: Path, bot_file: Path) -> None:
    run = begun(ToyConfig(str(bot_file)), tmp_path / "run")
    (run.path / "bot.yaml").unlink()
    before = Run(run.path, {name: value for name, value in run.params.items() if name != "bot_text_digest"})

    assert bot_of(before) == load_bot(bot_file)
    _change(bot_file)
    with pytest.raises(ParleyError, match="the bot has changed since the training, and a run of an earlier Parley"):
        bot_of(before)


def test_what_a_run_learned_from_must_be_what_it_was(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "nlu", "barista", {}, 7)
    run.figures(dataset_digest="a" * 64)

    check_data(run, "a" * 64, "there")
    with pytest.raises(ParleyError, match="the dataset is bbbbbbbbbbbb now, the training saw aaaaaaaaaaaa"):
        check_data(run, "b" * 64, "there")


def test_lineage_says_nothing_of_where_things_lay_on_the_machine(tmp_path: Path, bot_file: Path) -> None:
    config = ToyConfig(str(bot_file), data=tmp_path / "data", steps=4)
    lineage = lineage_of(begun(config, tmp_path / "run"), "d" * 64)

    assert str(tmp_path) not in lineage.model_dump_json()
    assert lineage.params["steps"] == 4 and lineage.seed == 7
    assert lineage.bot_digest == load_bot(bot_file).digest


def test_a_run_keeps_figures_and_mirrors_steps_to_wandb_offline(tmp_path: Path) -> None:
    script = (
        "from parley.runs import Run\n"
        f"run = Run.create({str(tmp_path / 'r')!r}, 'nlu', 'bank', {{'lr': 0.1}}, 7)\n"
        "run.log(1, loss=0.5); run.figures(f1=0.9); run.figures(acc=1.0); run.finish()\n"
        "before = (run.path / 'tracking.json').read_text()\n"
        f"again = Run.create({str(tmp_path / 'r')!r}, 'nlu', 'bank', {{'lr': 0.1}}, 7, resume=True); again.finish()\n"
        "assert (run.path / 'tracking.json').read_text() == before, 'it goes on with the run of the tracker'\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_MODE"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True, timeout=120)

    run = Run.open(tmp_path / "r")
    assert run.params == {"family": "nlu", "bot": "bank", "seed": 7, "lr": 0.1}
    assert json.loads((run.path / "figures.json").read_text()) == {"f1": 0.9, "acc": 1.0}
    assert json.loads((run.path / "metrics.jsonl").read_text())["loss"] == 0.5
    assert list(run.path.glob("wandb/offline-run-*/*.wandb"))


def test_lines_behind_a_step_are_forgotten_and_so_is_a_torn_one(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "nlu", "barista", {}, 7)
    for step in (1, 2, 3):
        run.log(step, loss=1.0)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1')

    run.forget_after(2)

    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]


def test_what_is_no_run_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="not a run directory"):
        Run.open(tmp_path)
