"""English text to words as they are said, and the pauses between them. `normalise` says how each word is read.

>>> [token.spoken for token in tokenise("A latte is $4.50.")]
[('a',), ('latte',), ('is',), ('four', 'dollars', 'and', 'fifty', 'cents')]
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from parley.language.contract import BREATH, Token
from parley.language.english.money import CURRENCY
from parley.language.english.normalise import read
from parley.language.english.written import Written, fold_text, is_address

MAX_WORD_LETTERS = 40
"""A longer run of letters is no word; it is cut there, so that hostile text cannot grow a request without end."""

_PAUSE_AFTER = {",": ",", ";": ",", ":": ",", ")": ",", "-": ",", ".": ".", "!": ".", "?": "?"}
_NUMBER = r"[-+(]*\d[\d.,']*(?:k|m|bn)?"
_WORD = re.compile(
    # An amount and its currency, a number in groups of thousands, feet and inches, a date with blanks are one word.
    rf"{CURRENCY}\s+(?=[-+]?\.?\d)\S+"
    rf"|\d{{1,3}}(?:\s\d{{3}}){{1,5}}\s?{CURRENCY}(?![A-Za-z])\S*"
    rf"|{_NUMBER}\s+{CURRENCY}(?![A-Za-z]|\s?\d)\S*"
    r"|\d{1,3}(?:\s000){1,5}(?![\w-]|\s\d)\S*"
    r"|\d+'\s+\d+\"\S*"
    r"|\d\d?\.\s\d\d?\.\s\d{4}\b\S*"
    r"|\S+"
)
_GLUED = re.compile(r"(?<=[A-Za-z])(?:[?!,;:](?=[A-Za-z]{2})|\.(?=[A-Z]?[a-z]))")
_MARKS = "\"'()[]{}.,;:!?-"
_BELONGS = re.compile(
    r"-(?:[^\s\w]?\d|\.\d|[A-Z]{0,3}[$£€¥]\s?\d)|\.\d|->|\(\d+\)\d|'\d0s"  # at a word's beginning
)
_OWN_END = re.compile(r"\d+(?:'\s?\d+)?(?:\"|'')")
"""Feet and inches; a word's last marks that are no quotes."""


def tokenise(text: str) -> list[Token]:
    """Written words with what is said for each and the pauses between them; nothing sayable gives an empty list."""
    folded = fold_text(text)
    stretches = [stretch for match in _WORD.finditer(folded.text) for stretch in _unglued(match, folded.text)]
    readings = read([written for written, _ in stretches])
    tokens: list[Token] = []
    for (written, first), reading in zip(stretches, readings, strict=True):
        spoken = _cut(reading.spoken)
        if spoken:
            if tokens and not tokens[-1].pause:
                tokens[-1] = replace(tokens[-1], pause=_pause(written.head.rstrip("\"'([{")))
            start, end = folded.was(first, first + len(written.body))
            foreign = not folded.foreign.isdisjoint(range(start, end))
            spelled = reading.spelled or ((text[start:end],) if foreign else ())
            pause = _pause(written.tail[1:] if reading.owns_dot else written.tail)
            tokens.append(Token(text[start:end], spoken, pause, start, spelled))
        elif tokens and not tokens[-1].pause:
            tokens[-1] = replace(tokens[-1], pause=_pause(written.head + written.body + written.tail))
    if tokens and tokens[-1].pause not in (".", "?"):
        tokens[-1] = replace(tokens[-1], pause=".")
    return _letter_a(tokens)


def _unglued(match: re.Match[str], text: str) -> Iterator[tuple[Written, int]]:
    """The written words of a stretch of the text, and where each one's body starts."""
    stretch, at = match.group(), match.start()
    quoted = text.count('"', 0, at) % 2 == 1
    cuts = [0, *(m.end() for m in _GLUED.finditer(stretch)), len(stretch)]
    if is_address(stretch.strip(_MARKS)) or re.fullmatch(r"(?:[A-Za-z]\.)+\W*", stretch):
        cuts = [0, len(stretch)]
    for begin, end in zip(cuts, cuts[1:], strict=False):
        piece = stretch[begin:end]
        first, last = _body(piece, quoted=quoted)
        yield Written(piece[first:last].strip(), piece[last:], piece[:first]), at + begin + first


def _body(piece: str, *, quoted: bool) -> tuple[int, int]:
    """Where the body of a piece starts and ends among the marks around it. A minus, a decimal point, a bracket that is
    closed inside, and the marks of feet and inches where no quote is open belong to it; a dash by itself is a word."""
    first, last = 0, len(piece)
    while first < last and piece[first] in _MARKS and not _BELONGS.match(piece, first):
        first += 1
    while last > first and piece[last - 1] in _MARKS:
        ended = piece[first:last]
        if piece[last - 1] in "\"'" and _OWN_END.fullmatch(ended) and not quoted and '"' not in piece[:first]:
            break
        if piece[last - 1] == ")" and ended.count("(") == ended.count(")"):
            break
        last -= 1
    if first == last and piece and not piece.strip("-"):
        return 0, len(piece)
    return first, last


def _pause(tail: str) -> str:
    if "?" in tail:
        return "?"
    return next((_PAUSE_AFTER[c] for c in tail if c in _PAUSE_AFTER), "")


def _cut(spoken: str) -> tuple[str, ...]:
    """Spoken words in lower case, capitals that stand alone kept as letters; runs of letters have an end."""
    said: list[str] = []
    for word in spoken.split():
        letter = word[0].isupper() and word[1:] in ("", "'s")
        if letter or word == BREATH:
            said.append(word)
        else:
            said += [word[i : i + MAX_WORD_LETTERS].lower() for i in range(0, len(word), MAX_WORD_LETTERS)]
    return tuple(said)


def _letter_a(tokens: list[Token]) -> list[Token]:
    """Tell the letter A from the article: a letter stands before a pause or beside another letter."""
    out = []
    for n, token in enumerate(tokens):
        beside = [t.text for t in (*tokens[max(0, n - 1) : n], *tokens[n + 1 : n + 2])]
        letter = token.text == "A" and (token.pause or any(len(t) == 1 and t.isupper() and t != "I" for t in beside))
        out.append(replace(token, spoken=("A",)) if letter else token)
    return out
