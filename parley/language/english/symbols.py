"""Characters that are no plain letters or figures: what each is folded to, and what it is called. Tables and two rules.

Nothing visible is left out: a character without an entry is said by its Unicode name.
"""

from __future__ import annotations

import re
import unicodedata

TYPOGRAPHY: dict[str, str] = {
    "’": "'", "‘": "'", "‛": "'", "′": "'", "´": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "″": '"', "«": '"',
    "»": '"', "‹": '"', "›": '"', "–": "-", "—": "-", "‑": "-", "‐": "-", "―": "-", "−": "-", "…": "...", "•": "-",
    "·": "-", "‣": "-", "▪": "-", "¿": '"', "¡": '"', "、": ",", "，": ",", "。": ".", "：": ":", "；": ";",
    "（": "(", "）": ")", "【": "[", "】": "]", "「": '"', "」": '"', "،": ",", "؟": "?", "۔": ".", "।": ".",
    "\u2126": "Ω", "℃": "°C", "℉": "°F", "⁄": "/", "∕": "/", "∗": "*", "＄": "$", "￥": "¥", "￡": "£", "∙": "-",
}  # fmt: skip
"""Quotes, dashes, stops and doubles of plain signs. The reversed marks of Spanish open a sentence, as quotes do."""
LATIN: dict[str, str] = {
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "ð": "d", "þ": "th", "ı": "i",
}  # fmt: skip
LATIN |= {low.upper(): high.capitalize() for low, high in LATIN.items() if len(low.upper()) == 1}
NAMES: dict[str, str] = {
    "&": "and", "%": "percent", "+": "plus", "@": "at", "=": "equals", "#": "number", "°": "degrees", "*": "star",
    "/": "slash", "\\": "backslash", "|": "bar", "~": "tilde", "^": "caret", "_": "underscore", "<": "less than",
    ">": "greater than", "`": "backquote", "$": "dollar", "£": "pound", "€": "euro", "¢": "cents", "¥": "yen",
    "≥": "greater than or equal to", "≤": "less than or equal to", "≠": "not equal to", "≈": "about",
    "±": "plus or minus", "×": "times", "÷": "divided by", "→": "to", "←": "from", "↑": "up", "↓": "down",
    "√": "square root of", "∞": "infinity", "‰": "per thousand", "§": "section", "¶": "paragraph", "©": "copyright",
    "®": "registered", "™": "trademark", "†": "dagger", "‡": "double dagger", "✓": "check", "✔": "check",
    "★": "star", "☆": "star", "❤": "heart", "♥": "heart", "☎": "telephone", "☺": "smiling face", "µ": "micro",
    "Ω": "ohms", "π": "pi", "∆": "delta", "∑": "sum", "∂": "partial", "∫": "integral", "✗": "cross", "✘": "cross",
    "✕": "cross", "⇒": "to", "¬": "not", "¤": "currency", "¦": "bar", "♪": "musical note", "℠": "service mark",
    "℅": "care of", "№": "number", "ª": "a", "º": "o",
}  # fmt: skip
"""What a sign is called. Before figures and between them it may be called otherwise: the rules say so."""
_UNKNOWN = "unknown character"
_OF_AN_EMOJI = re.compile("[\ufe00-\ufe0f\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
"""Variation selectors, joiners and skin tones: parts of the emoji before them."""


def is_invisible(char: str) -> bool:
    """Whether nobody sees this character: marks of layout, joiners, parts of an emoji."""
    return unicodedata.category(char) == "Cf" or _OF_AN_EMOJI.match(char) is not None


def name(char: str) -> tuple[str, bool]:
    """What a sign is called, in lower-case words, and whether a table says so.

    >>> name("≥"), name("☂")
    (('greater than or equal to', True), ('umbrella', False))
    """
    if char in NAMES:
        return NAMES[char], True
    if "\u0370" <= char <= "\u03ff" and unicodedata.category(char)[0] == "L":
        return unicodedata.name(char).split(" WITH ")[0].split()[-1].lower(), True
    words = re.sub(r"[^a-z]+", " ", unicodedata.name(char, "").lower()).strip()
    return (words or _UNKNOWN), False
