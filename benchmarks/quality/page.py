"""``report.html`` of `parley bench quality`: what every family wrote, in one file that loads nothing.

A family's Markdown becomes headings and tables, its plots images, its samples audio players, all inside the page. Raw
HTML, images and links in Markdown are shown as text; files outside of the family's folder are not read. What a family
should have written and has not is named where it would stand.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from benchmarks.quality.families import Family
from parley.files import write_atomic
from parley.page import document

_AUDIO = {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".mp3": "audio/mpeg"}
_STYLE = """
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; } h2 { border-top: 1px solid var(--line); padding-top: 1.5rem; }
code { font-size: .85rem; overflow-wrap: anywhere; } p, li, figcaption { overflow-wrap: anywhere; }
caption.same { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
caption { text-align: left; color: var(--soft); padding: .3rem 0; } .wide { margin: .5rem 0 1rem; }
.wide td, .wide th { min-width: 3.5rem; } .wide:focus-visible { outline: 2px solid var(--open); }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
audio { width: 100%; max-width: 26rem; } .samples { display: grid; gap: 1rem; padding: 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); } .samples figure { margin: 0; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none; } a { color: inherit; }
"""
_CLASS = {"measured": "passed", "failed": "failed", "skipped": "open"}


def write_page(out: Path, families: Sequence[Family]) -> Path:
    """Write ``OUT/report.html`` from ``OUT/quality.json`` and the families' folders; returns its path."""
    path = out / "report.html"
    write_atomic(path, page(out, families))
    return path


def page(out: Path, families: Sequence[Family]) -> str:
    """The page's text.

    Args:
        out: folder with ``quality.json`` and a folder a family.
        families: in the order of the page.
    """
    state = _read(out / "quality.json")
    shown = [family for family in families if family.name in state.get("families", {})]
    links = "".join(f"<li><a href='#{escape(f.name)}'>{escape(f.title)}</a></li>" for f in shown)
    return document(
        "Parley: quality",
        [
            "<main><h1>Quality, family by family</h1>",
            f"<p class='soft'>Made by <code>{escape(str(state.get('command', '')))}</code></p>",
            f"<nav aria-label='Families'><ul>{links}</ul></nav>",
            _overview(shown, state),
            *(_section(family, out / family.name, state["families"][family.name]) for family in shown),
            "</main>",
        ],
        _STYLE,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _overview(shown: Sequence[Family], state: dict[str, Any]) -> str:
    rows = []
    for family in shown:
        one = state["families"][family.name]
        when = one.get("when", "")[:16].replace("T", " ")
        took = f"{one['seconds']:.0f} s" if one.get("seconds") else ""
        rows.append(
            f"<tr><th scope='row'>{escape(family.title)}</th>"
            f"<td class='{_CLASS.get(one['state'], '')}'>{escape(one['state'])}</td><td>{escape(when)}"
            f"</td><td>{escape(took)}</td><td>{escape(one.get('reason', ''))}</td></tr>"
        )
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("family", "state", "when (UTC)", "took", "why"))
    return _table("What was measured", f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>")


def _table(caption: str, inside: str, seen: bool = True) -> str:
    # The wrapper scrolls on a narrow screen, so the keyboard must reach it.
    css = "" if seen else " class='same'"
    return (
        f"<div class='wide' tabindex='0' role='region' aria-label='{escape(caption)}'>"
        f"<table><caption{css}>{escape(caption)}</caption>{inside}</table></div>"
    )


def _section(family: Family, folder: Path, outcome: dict[str, Any]) -> str:
    report = _read(folder / f"{family.name}.json")
    parts = [f"<section id='{escape(family.name)}'><h2>{escape(family.title)}</h2>"]
    if outcome["state"] != "measured":
        css = _CLASS.get(outcome["state"], "")
        parts.append(f"<p class='{css}'>{escape(outcome['state'])}: {escape(outcome.get('reason', ''))}</p>")
    if report or outcome["state"] == "measured":
        parts += [_header(report), _words(family, folder), _plots(family, folder), _samples(report, folder)]
    return "".join([*parts, "</section>"])


def _header(report: dict[str, Any]) -> str:
    """Command, commit and environment, wherever the family keeps them."""
    header = report.get("header", report)
    rows = [("command", header.get("command")), ("commit", header.get("git_commit"))]
    if header.get("git_dirty"):
        rows.append(("working tree", "differs from the commit"))
    rows += [(key, _said(header.get(key))) for key in ("environment", "machine", "runs")]
    body = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td><code>{escape(str(value))}</code></td></tr>"
        for name, value in rows
        if value
    )
    return f"<details><summary>Command and environment</summary>{_table('How it was made', body)}</details>"


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _missing(what: str) -> str:
    return f"<p class='failed'>missing: {escape(what)}</p>"


def _words(family: Family, folder: Path) -> str:
    path = folder / f"{family.name}.md"
    return (
        rendered(path.read_text(encoding="utf-8", errors="replace"), family.title)
        if path.is_file()
        else _missing(path.name)
    )


def rendered(text: str, title: str) -> str:
    """Markdown as HTML below an ``h2``: raw HTML, images and links as text, every table with a caption.

    Args:
        text: the family's Markdown.
        title: caption of tables that stand under no heading.
    """
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink"])
    tokens = [t for t in reader.parse(text) if t.type != "inline" or t.content]
    if tokens and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        tokens = tokens[3:]  # the section has its heading
    levels = sorted({token.tag for token in tokens if token.type == "heading_open"})
    heading, counts = title, dict[str, int]()
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, 3 + levels.index(token.tag))}"
        if token.type == "heading_open" and following is not None:
            heading = following.content
        if token.type == "table_open":
            counts[heading] = counts.get(heading, 0) + 1
            token.meta["caption"] = heading + (f" ({counts[heading]})" if counts[heading] > 1 else "")
            # The heading above says it already: then the caption is for those who do not see the page.
            token.meta["seen"] = counts[heading] > 1
    reader.add_render_rule("table_open", _table_open)
    reader.add_render_rule("table_close", _table_close)
    reader.add_render_rule("th_open", _head_open)
    return str(reader.renderer.render(tokens, reader.options, {}))


def _table_open(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    meta = tokens[index].meta
    return _table(meta["caption"], "", meta["seen"]).removesuffix("</table></div>")


def _table_close(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return "</table></div>\n"


def _head_open(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    tokens[index].attrSet("scope", "col")
    return str(self.renderToken(tokens, index, options, env))


def _plots(family: Family, folder: Path) -> str:
    found = sorted(folder.glob(f"{family.name}*.png"))
    if not found:
        return _missing(f"{family.name}.png")
    return "".join(_image(path, f"{family.title}: plot {path.stem}; the tables hold its figures") for path in found)


def _image(path: Path, text: str) -> str:
    return (
        f"<figure><img loading='lazy' src='{_data(path, 'image/png')}' alt='{escape(text)}'>"
        f"<figcaption class='soft'>{escape(path.stem)}</figcaption></figure>"
    )


def _data(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _samples(report: dict[str, Any], folder: Path) -> str:
    samples = report.get("samples")
    if not isinstance(samples, list) or not samples:
        return ""
    items = "".join(f"<li>{_sample(one, folder)}</li>" for one in samples if isinstance(one, dict))
    return f"<h3>To listen to</h3><ul class='samples'>{items}</ul>"


def _sample(sample: dict[str, Any], folder: Path) -> str:
    label, text = str(sample.get("label", "")), str(sample.get("text", ""))
    name = " · ".join(filter(None, (label, text)))
    parts = [f"<figcaption><strong>{escape(label)}</strong> {escape(text)}</figcaption>"]
    if sample.get("audio"):
        path = _inside(folder, str(sample["audio"]))
        kind = _AUDIO.get(path.suffix.lower()) if path else None
        if path and kind:
            player = f"<audio controls preload='none' aria-label='{escape(name)}' src='{_data(path, kind)}'></audio>"
            parts.append(player)
        else:
            parts.append(_missing(str(sample["audio"])))
    if sample.get("spectrogram"):
        path = _inside(folder, str(sample["spectrogram"]))
        if path and path.suffix.lower() == ".png":
            parts.append(f"<img loading='lazy' src='{_data(path, 'image/png')}' alt='spectrogram of: {escape(name)}'>")
        else:
            parts.append(_missing(str(sample["spectrogram"])))
    return f"<figure>{''.join(parts)}</figure>"


def _inside(folder: Path, name: str) -> Path | None:
    """The file of that name, if it is one and lies in the folder: a report may not bring other files into the page."""
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
