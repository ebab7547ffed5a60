"""A version's card says what its manifest holds, and nothing can break out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.bundle import Lineage, Manifest, TensorSpec, read_manifest
from registry.versions.card import CARD, flatten, limits, model_card, slices


def _manifest(**changes: object) -> Manifest:
    return Manifest(
        family="stt", bot="barista", model="barista_stt", version=3, created="2026-01-02T03:04:05+00:00",
        inputs=[TensorSpec(name="pcm", dtype="INT16", dims=[1920])],
        outputs=[TensorSpec(name="log_probs", dtype="FP32", dims=[-1, 40])],
        max_batch_size=32, constants={"sample_rate": 8000, "language": "en-US"},
        lineage=Lineage(
            git_commit="abc123", dataset_digest="d" * 64, bot_digest="b" * 64, seed=7,
            params={"lr": 0.002, "config": {"channels": 192}}, environment={"torch": "2.13.0"},
            tracking={"run": "cafe/parley/x1", "artifact": "barista_stt:parley-3"},
        ),
        parity={"max_abs_error": {"log_probs": 3.9e-7}, "precision": "fp32"},
        evaluation={"recording": {"utterances": 69, "wer": 0.0341}, "synthetic": {"utterances": 129, "wer": 0.0058}},
        data_licence="Apache-2.0", files={"model.onnx": "a" * 64, CARD: "c" * 64},
    ).model_copy(update=changes)  # fmt: skip


@pytest.mark.parametrize(
    "fact",
    [
        "# barista_stt version 3", "STT (speech to text) of the bot barista", "| Licence | Apache-2.0 |", "d" * 64,
        "| Commit | `abc123` |", "| Seed | 7 |", "| Parameter `config.channels` | 192 |",
        "| Environment: torch | 2.13.0 |", "| in | `pcm` | INT16 | 1920 |", "| out | `log_probs` | FP32 | any × 40 |",
        "Up to 32 items a batch.", "| max_abs_error.log_probs | 3.9e-07 |", "| recording | wer | 0.0341 |",
        "| synthetic | wer | 0.0058 |", "| `model.onnx` | `" + "a" * 64, "audio of 8000 Hz",
        "| gives | `casing` | lower |", "| needs | `nlu.labels` | v2 |",
    ],
)  # fmt: skip
def test_card_names_each_fact_of_the_manifest(fact: str) -> None:
    manifest = _manifest(provides={"casing": "lower"}, requires={"nlu.labels": "v2"})

    assert fact in model_card(manifest)


def test_equal_manifests_give_equal_cards_and_the_cards_own_digest_is_left_out() -> None:
    manifest = _manifest()
    again = Manifest.model_validate_json(manifest.model_dump_json())
    shuffled = _manifest(files=dict(reversed(manifest.files.items())))
    before_it_was_written = _manifest(files={"model.onnx": "a" * 64})

    cards = {model_card(each) for each in (manifest, again, shuffled, before_it_was_written)}

    assert len(cards) == 1
    assert "c" * 64 not in cards.pop()


def test_limits_say_what_is_not_known() -> None:
    known = limits(_manifest())
    unknown = limits(
        _manifest(lineage=Lineage(git_commit="abc", git_dirty=True), evaluation={"held_out": {"replies": 0}}, parity={},
                  data_licence="")
    )  # fmt: skip

    assert known == [
        "Learned en-US only, and only what the bot barista is about.",
        "Works on audio of 8000 Hz, and on no other.",
    ]
    for words in ("slice held_out", "not compared", "changes that no commit", "not named by a digest", "licence"):
        assert any(words in said for said in unknown), words


def test_text_of_another_sites_manifest_cannot_add_sections_links_or_cells() -> None:
    card = model_card(_manifest(data_licence="free\n\n# barista_stt version 9 | x <img src=y> ![i](http://h/)"))

    assert card.count("\n# ") == 0
    assert "<img" not in card
    assert "![i]" not in card
    assert r"version 9 \| x" in card


def test_slices_keep_their_figures_together_and_flatten_names_each_leaf() -> None:
    evaluation = {"calibration_error": 0.1, "test": {"rows": 2, "noisy": {"rows": 1}}}

    assert dict(slices(evaluation)) == {
        "all": {"calibration_error": 0.1},
        "test": {"rows": 2},
        "test.noisy": {"rows": 1},
    }
    assert flatten(evaluation) == {"calibration_error": 0.1, "test.noisy.rows": 1, "test.rows": 2}


def test_every_starter_version_has_a_card() -> None:
    starters = sorted(Path("triton_repo").glob("*_*/[0-9]*"))

    assert len(starters) >= 6
    for directory in starters:
        manifest = read_manifest(directory)

        card = model_card(manifest)

        assert f"# {manifest.model} version {directory.name}" in card
        assert all(name in card for name, _ in slices(manifest.evaluation))
