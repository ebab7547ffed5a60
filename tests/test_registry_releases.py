"""Reading a bot's release."""

import json
from pathlib import Path

import pytest

from parley.errors import ParleyError
from parley.settings import Settings
from registry.releases import StageVersion, read_release


def write(bots: Path, text: str) -> Settings:
    (bots / "barista").mkdir(parents=True)
    (bots / "barista" / "release.json").write_text(text)
    return Settings(bots_dir=bots)


def test_release_names_a_version_per_stage(tmp_path: Path) -> None:
    stages = {"stt": {"model": "barista_stt", "version": 1}, "nlu": {"model": "barista_nlu", "version": 4}}
    settings = write(tmp_path, json.dumps({"number": 2, "stages": stages}))

    release = read_release("barista", settings)

    assert release.number == 2
    assert release.stages["nlu"] == StageVersion(model="barista_nlu", version=4)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{", "not a release"),
        ('{"number": 0, "stages": {}}', "number"),
        ('{"number": 1, "stages": {"asr": {"model": "m", "version": 1}}}', "stages.asr"),
        ('{"number": 1, "stages": {"stt": {"model": "m"}}}', "stages.stt.version"),
        ('{"number": 1, "stages": {"stt": {"model": "m", "version": "latest"}}}', "stages.stt.version"),
    ],
)
def test_bad_release_is_refused_with_its_key(tmp_path: Path, text: str, names: str) -> None:
    settings = write(tmp_path, text)

    with pytest.raises(ParleyError, match=names) as caught:
        read_release("barista", settings)

    assert caught.value.where.endswith("release.json") and caught.value.mend


def test_bot_without_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="no release"):
        read_release("barista", Settings(bots_dir=tmp_path))
