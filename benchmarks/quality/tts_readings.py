"""How written text is read: the front end on a table of kinds, beside a library where one is installed.

    python -m benchmarks.quality.tts_readings [--peer nemo|wetext] [--wrong]

The table (``tests/vectors/readings.tsv``) gives for each written text a regular expression over canonical words: lower
case, without punctuation, hyphens as blanks, no "and" inside numbers and prices, "oh" among figures as "zero".
So tastes of one front end are not another's faults.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from parley.command import exit_with

TABLE = Path(__file__).parents[2] / "tests" / "vectors" / "readings.tsv"
_NUMBER_WORD = (
    "(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    "eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|first|second|third|fourth|fifth|sixth|"
    "seventh|eighth|ninth|tenth|eleventh|twelfth)"
)
_AND = re.compile(
    rf"(?:(?<=hundred)|(?<=thousand)|(?<=illion)) and (?={_NUMBER_WORD})"
    rf"| and (?=(?:{_NUMBER_WORD} ){{1,2}}(?:cents?|penny|pence|paise|paisa)\b)"
)


@dataclass(frozen=True)
class Row:
    """A row of the table. ``expected`` is a pattern over :func:`canonical` words."""

    kind: str
    written: str
    expected: str

    def accepts(self, said: str) -> bool:
        """Whether a reading is one of those that the row allows."""
        return re.fullmatch(self.expected, canonical(said)) is not None


def rows(table: Path = TABLE) -> list[Row]:
    """The table; ``\\uXXXX`` in it stands for a character that cannot be seen."""
    found = []
    for line in table.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("# kind"):
            kind, written, expected = line.split("\t")
            seen = re.sub(r"\\u([0-9a-f]{4})", lambda m: chr(int(m.group(1), 16)), written)
            found.append(Row(kind, seen, expected))
    return found


def canonical(said: str) -> str:
    """A reading without what is taste: case, marks, hyphens, "and" inside numbers, "oh" for "zero"."""
    words = re.sub(r"[-–—,.;:!?\"()]", " ", said.lower().replace("’", "'"))
    words = re.sub(r"\b(oh)\b(?!')", "zero", " ".join(words.split()))
    return _AND.sub(" ", words)


def ours() -> Callable[[str], str]:
    """This project's front end."""
    from parley.language.contract import BREATH
    from parley.language.english.tokenise import tokenise

    return lambda text: " ".join(word for token in tokenise(text) for word in token.spoken if word != BREATH)


def peer(name: str) -> Callable[[str], str]:
    """A library's English text normalisation, where it is installed (both need pynini)."""
    if name == "nemo":
        from nemo_text_processing.text_normalization.normalize import Normalizer

        return Normalizer(input_case="cased", lang="en").normalize
    from tn.english.normalizer import Normalizer as English

    return English(overwrite_cache=False).normalize


def main(argv: list[str] | None = None) -> int:
    """Read the table's sentences and print how many are read as people do. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.tts_readings", description="Measure readings.")
    parser.add_argument("--peer", choices=("nemo", "wetext"), help="measure this library instead")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--wrong", action="store_true", help="print every row that is read otherwise")
    options = parser.parse_args(argv)
    started = time.perf_counter()
    read = peer(options.peer) if options.peer else ours()
    loading = time.perf_counter() - started
    right, total = Counter[str](), Counter[str]()
    started = time.perf_counter()
    table = rows(options.table)
    for row in table:
        total[row.kind] += 1
        try:
            said = read(row.written)
        except Exception as error:  # a peer's crash is its answer
            said = type(error).__name__
        if row.accepts(said):
            right[row.kind] += 1
        elif options.wrong:
            print(f"{row.kind}: {row.written!r}: {canonical(said)!r}, not {row.expected!r}")
    each_ms = (time.perf_counter() - started) / max(1, len(table)) * 1000
    for kind, count in total.items():
        print(f"{kind}: {right[kind]} of {count}")
    print(f"all: {right.total()} of {total.total()}; {each_ms:.2f} ms a text; loaded in {loading:.1f} s")
    return 0


if __name__ == "__main__":
    exit_with(main)
