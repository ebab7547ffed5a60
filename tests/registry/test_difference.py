"""Two versions are compared by what they say of themselves: which way each figure went, and what they learned from."""

from __future__ import annotations

from typing import Any

import pytest

from parley.bundle import Lineage, Manifest, TensorSpec
from registry.versions.difference import Change, OtherSplit, data_changes, difference, figure_changes


def _manifest(version: int, **changes: Any) -> Manifest:
    lineage = {"git_commit": "abc", "dataset_digest": "d1", "params": {"lr": 0.1, "config": {"blocks": 4}}, "seed": 7}
    return Manifest(
        family="stt", bot="barista", model="barista_stt", version=version,
        inputs=[TensorSpec(name="pcm", dtype="INT16", dims=[1920])], outputs=[],
        lineage=Lineage.model_validate({**lineage, **changes.pop("lineage", {})}),
    ).model_copy(update=changes)  # fmt: skip


def test_equal_versions_differ_in_nothing() -> None:
    found = difference(_manifest(2), _manifest(3))

    assert (found.before, found.after) == ("barista_stt 2", "barista_stt 3")
    parts = (found.figures, found.parameters, found.contract, found.origin, found.files, found.environment)
    assert all(part == [] for part in parts)
    assert found.same_data


@pytest.mark.parametrize(
    ("name", "before", "after", "direction"),
    [
        ("recording.wer", 0.10, 0.05, "better"), ("recording.wer", 0.05, 0.10, "worse"),
        ("test.frame_accuracy", 0.9, 0.95, "better"), ("slots.f1", 0.9, 0.8, "worse"),
        ("latency_ms.p95", 3.0, 4.5, "worse"), ("calibration_error", 0.02, 0.01, "better"),
        ("all.fallback_rate", 0.1, 0.0, "better"), ("tokens_per_s", 100.0, 120.5, "better"),
        ("out_of_scope.precision", 0.99, 1.0, "better"), ("real_time_factor", 0.012, 0.014, "worse"),
        ("recording.word_errors", 27, 30, ""),  # a count: it grows with the words that were said
        ("audio_s", 366.4, 400.1, ""), ("precision", "fp32", "fp16", ""), ("held_out.bleu", None, 99.0, ""),
    ],
)  # fmt: skip
def test_figure_says_which_way_it_went_where_its_name_tells(
    name: str, before: object, after: object, direction: str
) -> None:
    assert figure_changes({name: before}, {name: after}) == [Change(name, before, after, direction)]  # type: ignore[arg-type]


def test_parameters_contract_origin_files_and_environment_are_each_compared() -> None:
    old = _manifest(
        2, files={"model.onnx": "a", "labels.json": "l"}, constants={"chunk": 1920}, requires={"stt.casing": "lower"}
    )
    new = _manifest(
        3, files={"model.onnx": "b", "labels.json": "l", "more.json": "m"}, constants={"chunk": 960},
        data_licence="CC0",
        lineage={
            "params": {"lr": 0.1, "config": {"blocks": 6}}, "seed": 8, "git_commit": "def", "git_dirty": True,
            "dataset_digest": "d2", "environment": {"torch": "2"},
        },
    )  # fmt: skip

    found = difference(old, new)

    assert found.parameters == [Change("config.blocks", 4, 6), Change("seed", 7, 8)]
    assert found.contract == [Change("constants.chunk", 1920, 960), Change("requires.stt.casing", "lower", None)]
    assert found.origin == [
        Change("commit", "abc", "def with uncommitted changes"),
        Change("dataset digest", "d1", "d2"),
        Change("licence of the data", "", "CC0"),
    ]
    assert found.files == [Change("model.onnx", "a", "b"), Change("more.json", None, "m")]
    assert found.environment == [Change("torch", None, "2")]
    assert not found.same_data


def test_utterances_added_removed_and_moved_between_splits_are_named() -> None:
    before = [("u1", "train"), ("u2", "test"), ("u3", "train"), ("u3", "train")]
    after = [("u1", "train"), ("u2", "train"), ("u4", "dev")]

    found = data_changes(before, after)

    assert (found.known, found.added, found.removed, found.shared) == (True, ["u4"], ["u3"], 2)
    assert found.moved == [OtherSplit("u2", "test", "train")]


def test_data_of_a_version_without_a_list_is_unknown_and_not_called_removed() -> None:
    assert data_changes([], [("u1", "train")]) == data_changes([("u1", "train")], [])
    assert not data_changes([], [("u1", "train")]).known
