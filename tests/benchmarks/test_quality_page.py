"""The page of `parley bench quality`: self-contained, escaped, whole, readable on a telephone."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from browser import Browser

from benchmarks.quality.families import Family
from benchmarks.quality.page import page, rendered, write_page
from parley.audio import write_wav

HOSTILE = "<script>alert(1)</script><img src=https://evil.example/x.png onerror=alert(2)>\"'&"
FAMILIES = (Family("tts", "Voices", "", lambda place: []), Family("nlu", "Meanings", "", lambda place: []))
MARKDOWN = f"""# Voices, measured

{HOSTILE} and ![picture](https://evil.example/y.png) and [here](javascript:alert(3))

### By voice

| name | a wide column of figures that no telephone shows at once | 95 % interval by sentence of all runs | WER |
|---|---:|---|---|
| ours | {"1.25 " * 20} | 0.10 to 0.14 | {HOSTILE.replace("|", "")} |

| second | table |
|---|---|
| under | one heading |
"""


class _Reader(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """What a family that was measured and one that failed leave behind."""
    out = tmp_path / "out"
    folder = out / "tts"
    folder.mkdir(parents=True)
    (folder / "tts.md").write_text(MARKDOWN)
    for name in ("tts.png", "tts_pitch.png", "spectrogram.png"):
        matplotlib.image.imsave(folder / name, np.linspace(0, 1, 64).reshape(8, 8))
    write_wav(folder / "one.wav", np.zeros(8000, np.int16))
    (tmp_path / "secret.wav").write_bytes(b"secret")
    samples: list[dict[str, Any]] = [
        {"label": "ours", "audio": "one.wav", "spectrogram": "spectrogram.png", "text": HOSTILE},
        {"label": "gone", "audio": "gone.wav", "text": "never written"},
        {"label": "elsewhere", "audio": "../../secret.wav", "text": "of another folder"},
    ]
    header = {"command": f"python -m x {HOSTILE}", "git_commit": "abc123", "environment": {"python": "3.11"}}
    (folder / "tts.json").write_text(json.dumps({**header, "samples": samples}))
    states = {
        "tts": {"state": "measured", "reason": "", "seconds": 3.0, "when": "2026-01-01T00:00:00+00:00"},
        "nlu": {"state": "failed", "reason": HOSTILE, "seconds": 1.0, "when": "2026-01-01T00:00:00+00:00"},
    }
    (out / "quality.json").write_text(json.dumps({"command": f"parley bench {HOSTILE}", "families": states}))
    return out


def test_hostile_text_stays_text(results: Path) -> None:
    found = _Reader(page(results, FAMILIES))
    assert not found.all("script") and not [a for _, a in found.tags if any(name.startswith("on") for name in a)]
    assert (
        found.text.count("<script>alert(1)</script>") >= 5
    )  # both commands, the text, the table, the sample, the reason


def test_nothing_is_loaded_from_anywhere(results: Path) -> None:
    found = _Reader(page(results, FAMILIES))
    addresses = [a[name] for _, a in found.tags for name in ("src", "href", "srcset", "data", "poster") if name in a]
    assert addresses and all(each and each.startswith(("data:", "#")) for each in addresses)
    (policy,) = [a["content"] for a in found.all("meta") if a.get("http-equiv")]
    assert policy and policy.startswith("default-src 'none'")


def test_plots_audio_and_spectrograms_are_inside(results: Path) -> None:
    found = _Reader(page(results, FAMILIES))
    assert len(found.all("img")) == 3 and len(found.all("audio")) == 1
    assert all((image["alt"] or "").strip() for image in found.all("img"))


def test_what_is_missing_is_named(results: Path) -> None:
    (results / "tts" / "tts.md").unlink()
    for plot in results.glob("tts/tts*.png"):
        plot.unlink()
    text = _Reader(page(results, FAMILIES)).text
    for name in ("tts.png", "tts.md", "gone.wav", "../../secret.wav"):
        assert f"missing: {name}" in text


def test_a_family_that_failed_says_why_and_has_no_empty_parts(results: Path) -> None:
    text = page(results, FAMILIES)
    section = text[text.index("<section id='nlu'>") :]
    assert "failed: &lt;script&gt;" in section and "missing:" not in section


def test_every_table_has_a_caption_and_headings_do_not_skip_a_level(results: Path) -> None:
    found = _Reader(page(results, FAMILIES))
    assert len(found.all("caption")) == len(found.all("table")) == 4
    levels = [int(tag[1]) for tag, _ in found.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert all(a.get("scope") for a in found.all("th"))


def test_two_tables_under_one_heading_have_captions_of_their_own() -> None:
    text = rendered("## Speed\n\n| a |\n|---|\n| 1 |\n\ntext\n\n| b |\n|---|\n| 2 |\n", "Voices")
    assert "<caption class='same'>Speed</caption>" in text and "<caption>Speed (2)</caption>" in text


def test_a_browser_shows_it_on_a_telephone_in_the_dark_without_asking_for_anything(
    results: Path, tmp_path: Path
) -> None:
    path = write_page(results, FAMILIES)
    with Browser(tmp_path) as browser:
        browser.open(path, width=390, dark=True)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
        assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
        drawn = "Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode() }))"
        assert browser.evaluate(f"{drawn}.then(all => all.length)") == 3
        plays = "new Promise(done => { const a = document.querySelector('audio'); a.preload = 'auto'; " \
                "a.onloadedmetadata = () => done(a.duration); a.onerror = () => done(-1); a.load() })"  # fmt: skip
        assert browser.evaluate(plays) == pytest.approx(1.0)
        assert {url.split(":")[0] for url in browser.requested} <= {"file", "data"}
        assert [url for url in browser.requested if url.startswith("file:")] == [path.resolve().as_uri()]
        browser.open(path, width=1200)
        assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
