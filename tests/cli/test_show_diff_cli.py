"""`parley show` and `parley diff` say what is known, and say when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from release_site import add_version
from serving_models import damage

from cli.main import run
from parley.bundle import Lineage
from parley.settings import settings
from parley.table import aligned
from parley.utterances import Utterance, Utterances, write_utterances
from registry.releasing.holds import hold
from registry.site import Registry
from registry.writing import open_for_writing

MODEL = "barista_stt"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Two versions of a model, named by nobody."""
    for name in ("bots", "repo", "keys"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PARLEY_BOTS_DIR", str(tmp_path / "bots"))
    monkeypatch.setenv("PARLEY_REPO_DIR", str(tmp_path / "repo"))
    monkeypatch.setenv("PARLEY_TRUSTED_KEYS_DIR", str(tmp_path / "keys"))
    with open_for_writing(settings()) as registry:
        _add(registry, {"u1": "train", "u2": "test"}, wer=0.10, lr=0.1)
        _add(registry, {"u1": "train", "u2": "train", "u3": "train"}, wer=0.05, lr=0.2)
        yield registry


def _add(registry: Registry, utterances: dict[str, str], *, wer: float, lr: float) -> None:
    """A version with figures, parameters and utterances."""
    dataset = f"{len(utterances)}" * 64
    row = add_version(
        registry, "stt", data_licence="CC0", evaluation={"recording": {"utterances": 9, "wer": wer}},
        lineage=Lineage(git_commit="abc", dataset_digest=dataset, params={"lr": lr}),
    )  # fmt: skip
    rows = tuple(Utterance(name.encode().hex().rjust(64, "0"), name, split) for name, split in utterances.items())
    folder = registry.site.state_dir / dataset
    folder.mkdir()
    write_utterances(folder, Utterances(dataset, "barista", "CC0", rows))
    from registry.catalogue import manifest_of, record_dataset

    with registry.catalogue.write() as c:
        record_dataset(c, folder, manifest_of(c, MODEL, row.number))


def _said(capsys: pytest.CaptureFixture[str], *line: str) -> str:
    assert run(line) == 0
    return capsys.readouterr().out


def _json(capsys: pytest.CaptureFixture[str], *line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_said(capsys, *line, "--json"))
    return found


def test_show_names_the_newest_version_its_publisher_key_and_figures(
    site: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _said(capsys, "show", "stt")

    for fact in (
        f"{MODEL} 2", "UTC by tester", "yes, signature and every file", "this site's own key", "nobody", "CC0", "0.05",
    ):  # fmt: skip
        assert fact in said


def test_show_says_who_needs_the_version(site: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    with site.catalogue.write() as c:
        hold(c, "experiment stt-2", [(MODEL, 1)])

    assert "experiment stt-2" in _said(capsys, "show", MODEL, "1")
    assert _json(capsys, "show", MODEL, "1")["references"] == ["experiment stt-2"]
    assert _json(capsys, "show", MODEL, "2")["references"] == []


def test_show_says_when_a_file_is_not_as_signed(site: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    damage(site.repo / MODEL / "1" / "model.onnx")

    said, found = _said(capsys, "show", MODEL, "1"), _json(capsys, "show", MODEL, "1")

    assert "NO: " in said and "file is altered" in said
    assert (found["verified"], "file is altered" in found["problem"]) == (False, True)


def test_show_card_prints_the_card_that_lies_in_the_version(site: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert _said(capsys, "show", MODEL, "2", "--card") == (site.repo / MODEL / "2" / "card.md").read_text()


def test_unknown_version_is_one_line_that_says_what_there_is(site: Registry) -> None:
    from parley.errors import ParleyError

    with pytest.raises(ParleyError, match="there is no version 7 - there is: 1-2"):
        run(["show", MODEL, "7"])
    with pytest.raises(ParleyError, match="there is no version 7"):
        run(["diff", MODEL, "1", "7"])


def test_diff_gives_figures_with_their_direction_parameters_files_and_data(
    site: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    said, found = _said(capsys, "diff", "stt", "1", "2"), _json(capsys, "diff", "stt", "1", "2")

    for fact in (
        f"{MODEL} 1 -> {MODEL} 2", "recording.wer", "better", "measured on different data", "model.onnx",
        "1 added, 0 removed, 2 in both", "1 in another split",
    ):  # fmt: skip
        assert fact in said
    assert found["figures"] == [{"name": "recording.wer", "before": 0.10, "after": 0.05, "direction": "better"}]
    assert found["parameters"] == [{"name": "lr", "before": 0.1, "after": 0.2, "direction": ""}]
    assert found["data"]["added"] == [b"u3".hex().rjust(64, "0")]
    assert found["data"]["moved"][0]["after"] == "train"
    assert not found["same_data"]


def test_diff_of_a_version_with_itself_says_that_nothing_differs(
    site: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nothing differs" in _said(capsys, "diff", MODEL, "1", "1")


def test_columns_align_and_no_control_character_of_a_manifest_reaches_the_terminal() -> None:
    assert aligned([("a", "b"), ("long", "c\x1b[2J")]) == "  a     b\n  long  c?[2J"
    assert aligned([]) == ""
