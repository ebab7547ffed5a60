"""A verdict as one self-contained HTML page: the decision and its reasons in sentences, the plot, the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from parley.page import document
from registry.gating.gate import Check, Verdict

_STYLE = """
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; } svg { max-width: 100%; height: auto; }
"""
_CLASS = {"passed": "passed", "failed": "failed", "not judged": "open"}
_ROW, _LEFT, _RIGHT, _WIDTH = 26, 230, 150, 860


def page(verdict: Verdict) -> str:
    """The page. Everything in it comes from the verdict; nothing is loaded from elsewhere."""
    colour = "passed" if verdict.accepted else "failed"
    reasons = [c for c in verdict.checks if c.refuses] if not verdict.accepted else _shown(verdict.checks)
    why = "Why it was accepted" if verdict.accepted else "Why it was refused"
    rest = [c for c in verdict.checks if c not in reasons]
    parts = [
        f"<h1 class='{colour}'>{escape(verdict.headline)}</h1>",
        f"<p class='soft'>Bot {escape(verdict.bot)}, release {verdict.candidate} against release {verdict.against}; "
        f"asked to be {'better' if verdict.purpose == 'better' else 'not worse, and cheaper'}.</p>",
        _changes(verdict.changed),
        f"<h2>{why}</h2>{_sentences(reasons)}" if reasons else "",
        _plot(verdict.checks),
        f"<h2>What else was looked at</h2>{_sentences(rest)}" if rest else "",
        _table(verdict.checks),
        _lost(verdict.checks),
        _sources(verdict),
    ]
    title = f"{verdict.bot}: release {verdict.candidate} {'accepted' if verdict.accepted else 'refused'}"
    return document(title, parts, _STYLE)


def _shown(checks: Iterable[Check]) -> list[Check]:
    """What carries an acceptance."""
    return [c for c in checks if c.outcome == "passed" and c.name.split()[0] in ("better", "overall", "cheaper")]


def _changes(changed: Mapping[str, tuple[str, str]]) -> str:
    items = "".join(f"<li>{escape(stage)}: {escape(old)} → {escape(new)}</li>" for stage, (old, new) in changed.items())
    return f"<ul>{items}</ul>" if items else ""


def _sentences(checks: Iterable[Check]) -> str:
    items = "".join(
        f"<li><span class='{_CLASS[c.outcome]}'>{escape(c.outcome)}</span> · {escape(c.sentence)}</li>" for c in checks
    )
    return f"<ul>{items}</ul>"


def _compared(checks: Iterable[Check]) -> list[Check]:
    return [c for c in checks if "interval" in c.figures and c.figures.get("pairs")]


def _plot(checks: Iterable[Check]) -> str:
    """Gains with their intervals, over everything and by slice; the margin that must not be crossed as a tick."""
    rows = _compared(checks)
    if not rows:
        return ""
    ends = [v for c in rows for v in (*c.figures["interval"], -c.figures.get("margin", 0.0)) if abs(v) < 1]
    # Every gain lies inside; an interval of too few speakers reaches from -100 to 100 points and may run out of it.
    reach: float = max(abs(v) for v in [0.02, *ends, *(c.figures["gain"] for c in rows)]) * 1.15
    span = _WIDTH - _LEFT - _RIGHT

    def x(value: float) -> float:
        inside: float = max(-reach, min(reach, value))
        return _LEFT + (inside + reach) / (2 * reach) * span

    height = _ROW * (len(rows) + 2)
    marks = [_svg_row(check, x, _ROW * (n + 1)) for n, check in enumerate(rows)]
    zero = f"<line x1='{x(0):.1f}' x2='{x(0):.1f}' y1='8' y2='{height - _ROW}' stroke='currentColor' opacity='.5'/>"
    ticks = "".join(
        f"<text x='{x(v):.1f}' y='{height - 6}' text-anchor='middle'>{v * 100:+.1f}</text>"
        for v in (-reach / 1.15, 0.0, reach / 1.15)
    )
    return (
        "<h2>Gain over the champion, in points</h2>"
        f"<svg viewBox='0 0 {_WIDTH} {height}' role='img' aria-label='gain over the champion with intervals'>"
        f"{zero}{''.join(marks)}{ticks}</svg>"
        "<p class='soft'>Dots are the gains, lines their intervals by speaker, small ticks the margin below which a "
        "part would count as worse. Right of 0 is better.</p>"
    )


def _svg_row(check: Check, x: Any, y: float) -> str:
    figures = check.figures
    low, high = figures["interval"]
    colour = f"var(--{'good' if check.outcome == 'passed' else 'bad' if check.outcome == 'failed' else 'open'})"
    name = check.name.removeprefix("slice ").removeprefix("better ").removeprefix("overall ")
    parts = [
        f"<text x='0' y='{y + 4}'>{escape(name[:32])}</text>",
        f"<line x1='{x(low):.1f}' x2='{x(high):.1f}' y1='{y}' y2='{y}' stroke='{colour}' stroke-width='2'/>",
        f"<circle cx='{x(figures['gain']):.1f}' cy='{y}' r='5' fill='{colour}'/>",
        f"<text x='{_WIDTH - _RIGHT + 12}' y='{y + 4}'>{figures['gain'] * 100:+.1f}  (n {figures['units']})</text>",
    ]
    if "margin" in figures:
        at = x(-figures["margin"])
        parts.append(f"<line x1='{at:.1f}' x2='{at:.1f}' y1='{y - 7}' y2='{y + 7}' stroke='currentColor'/>")
    return "".join(parts)


def _table(checks: Iterable[Check]) -> str:
    rows = []
    for check in _compared(checks):
        f = check.figures
        low, high = f["interval"]
        cells = [
            f"{f['champion']:.1%}", f"{f['candidate']:.1%}", f"{f['gain'] * 100:+.1f}",
            f"{low * 100:+.1f} … {high * 100:+.1f}", str(f["gained"]), str(f["lost"]), str(f["units"]),
            str(f["speakers"]), f"{f['p']:.4f}" if "p" in f else "", f"{f['p_mcnemar']:.4f}",
        ]  # fmt: skip
        numbers = "".join(f"<td class='number'>{escape(c)}</td>" for c in cells)
        verdict = f"<td class='{_CLASS[check.outcome]}'>{escape(check.outcome)}</td>"
        rows.append(f"<tr><td>{escape(check.name)}</td>{numbers}{verdict}</tr>")
    if not rows:
        return ""
    heads = ("", "champion", "candidate", "gain", "interval", "gained", "lost", "units", "speakers", "p", "p (McNemar)",
             "")  # fmt: skip
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    return (
        f"<h2>The figures</h2><div class='wide'><table><tr>{head}</tr>{''.join(rows)}</table></div>"
        "<p class='soft'>p is of the test that decides, over speakers; McNemar's takes every utterance for "
        "independent and is there to compare with.</p>"
    )


def _lost(checks: Iterable[Check]) -> str:
    golden = next((c for c in checks if c.name == "golden"), None)
    parts = []
    for key, title in (("lost", "Golden items lost"), ("open", "Golden items wrong with both")):
        items = (golden.figures.get(key) if golden else None) or []
        rows = "".join(
            f"<tr><td>{escape(i['id'])}</td><td>{escape(i['wanted'])}</td><td>{escape(i['got'])}</td></tr>"
            for i in items
        )
        if rows:
            parts.append(f"<h2>{title}</h2><table><tr><th></th><th>wanted</th><th>candidate</th></tr>{rows}</table>")
    return "".join(parts)


def _sources(verdict: Verdict) -> str:
    sources = {**verdict.sources, "alpha (one-sided)": verdict.rules.get("alpha"),
               "minimum effect": verdict.rules.get("min_effect")}  # fmt: skip
    rows = "".join(
        f"<tr><td>{escape(str(k))}</td><td>{escape(str(v))}</td></tr>" for k, v in sources.items() if v != ""
    )
    earlier = int(verdict.sources.get("earlier_verdicts", 0) or 0)
    alpha = float(verdict.rules.get("alpha", 0.025))
    warning = (
        f"<p class='open'>{earlier} verdicts were given on these very utterances before. Of {round(1 / alpha)} "
        "candidates that are no better, one is expected to pass: take fresh recordings now and then.</p>"
        if earlier
        else ""
    )
    return f"<h2>What it was judged on</h2><table>{rows}</table>{warning}"
