"""The shell of a page that is one self-contained HTML file: the house's style, and nothing loaded from anywhere.

    document("Quality", ["<h1>Quality</h1>", "<p>…</p>"])

Light and dark follow the reader's system, long tables scroll by themselves on a telephone, and a content security
policy forbids whatever would come over a network, should hostile text get past the escaping.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #59636e; --line: #d1d9e0;
        --good: #1a7f37; --bad: #b42318; --open: #9a6700; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --soft: #9198a1; --line: #3d444d;
          --good: #3fb950; --bad: #ff7b72; --open: #d29922; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; line-height: 1.3; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.passed { color: var(--good); } .failed { color: var(--bad); } .open { color: var(--open); }
.soft { color: var(--soft); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; } .wide { overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); }
"""


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """The page's text.

    Args:
        title: of the window; escaped here.
        body: parts of HTML, escaped by whoever made them; empty ones are left out.
        style: CSS after the house's.
    """
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{_STYLE}{style}</style></head>\n<body>\n" + "\n".join(filter(None, body)) + "\n</body></html>\n"
    )
