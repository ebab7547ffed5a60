"""A small language whose letters are not Latin, and a bot that speaks it: Greek enough to order a drink.

``docs/languages.md`` walks through it. Nothing of it is registered: a test does so with ``with_language(GREEK)``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from parley.language import Language, Token
from parley.language.contract import Accents, CallersSpeech, CallersVoices, Disclosure, Sounds
from parley.language.digits import DigitWords
from parley.language.letters import Letters

LETTERS = Letters("αάβγδεέζηήθιίϊΐκλμνξοόπρσςτυύϋΰφχψωώ", silent="ˈ", drops_accents=False)
DIGITS = DigitWords(
    {
        "0": ("μηδέν",), "1": ("ένα",), "2": ("δύο",), "3": ("τρία",), "4": ("τέσσερα",), "5": ("πέντε",),
        "6": ("έξι",), "7": ("επτά", "εφτά"), "8": ("οκτώ", "οχτώ"), "9": ("εννέα", "εννιά"),
        "20": ("είκοσι",), "21": ("είκοσι ένα",), "30": ("τριάντα",),
    },
    repeats={"διπλό": 2},
)  # fmt: skip
_PHONE_OF = {
    "α": "a", "β": "v", "γ": "g", "δ": "dh", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i", "κ": "k", "λ": "l",
    "μ": "m", "ν": "n", "ξ": "ks", "ο": "o", "π": "p", "ρ": "r", "σ": "s", "ς": "s", "τ": "t", "υ": "i", "φ": "f",
    "χ": "x", "ψ": "ps", "ω": "o",
} | dict(zip("άέήίϊΐόύϋΰώ", ["a", "e", "i", "i", "i", "i", "o", "i", "i", "i", "o"], strict=True))  # fmt: skip
PHONES = tuple(dict.fromkeys(_PHONE_OF.values()))


class Inflection:
    """ "ένας", "μία" or "ένα" by the ending of the next word; ``~acc`` is the accusative of a value."""

    def agree(self, word: str, form: str, following: str) -> str | None:
        if form == "acc":
            return self.accusative(word)
        if word in ("ένα", "Ένα") and following:
            noun = following.split()[0].rstrip(".,;")
            return {"ς": f"{word}ς", "α": "Μία" if word[0] == "Έ" else "μία"}.get(noun[-1:], word)
        return None

    def forms(self, value: str) -> Collection[str]:
        return (value, self.accusative(value))

    @staticmethod
    def accusative(value: str) -> str:
        return value.removesuffix("ς")


class Reader:
    """Figures through the digits' words; everything else as it stands."""

    def tokenise(self, text: str) -> list[Token]:
        tokens = []
        for match in re.finditer(r"(\w+)([.,;?!]*)", text):
            body, marks = match.groups()
            pause = "?" if ";" in marks or "?" in marks else "." if set(marks) & set(".!") else "," if marks else ""
            said = DIGITS.ways.get(body, ())[:1] or (DIGITS.words_of(body) if body.isdigit() else [LETTERS.fold(body)])
            tokens.append(Token(body, tuple(" ".join(said).split()), pause, match.start()))
        return tokens


class Pronouncer:
    """A letter is a phone."""

    def heard(self, word: str) -> str:
        return " ".join(_PHONE_OF[letter] for letter in word)

    def spoken(self, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
        return {word: tuple(_PHONE_OF[letter] for letter in word) for word in words if set(word) <= _PHONE_OF.keys()}

    def spelled(self, word: str, lexicon: Mapping[str, Sequence[str]]) -> list[str]:
        return [_PHONE_OF.get(letter, "e") for letter in word]


class Script:
    """What a Greek voice would read."""

    def sentences(self) -> Sequence[str]:
        return ["Καλημέρα σας."]

    def figures(self, rng: random.Random) -> str:
        return f"Είναι {rng.randint(0, 9)}."

    def listed(self) -> Sequence[str]:
        return list(DIGITS.single)

    def is_question(self, text: str) -> bool:
        return text.startswith(("τι", "πού", "πότε"))


GREEK = Language(
    tag="el",
    letters=LETTERS,
    digits=DIGITS,
    inflection=Inflection(),
    disclosure=Disclosure("Μιλάτε με βοηθό τεχνητής νοημοσύνης.", names=("τεχνητής νοημοσύνης", "ΤΝ")),
    reader=Reader(),
    sounds=Sounds(PHONES, PHONES, frozenset("aeio"), {"ναι": ("n e",)}, {}, Pronouncer()),
    probe="ναι",
    system_voice="el",
    callers=CallersSpeech(
        before=("εε",), after=("ευχαριστώ",), alike={}, droppable=frozenset(["ένα"]), unsettled=frozenset(["ένα"]),
        onsets=("β", "κ", "στρ"),
        nuclei="αεο", codas=("", "ς"), elsewhere=Path(__file__).with_name("toy_elsewhere.txt"),
    ),
    voices=CallersVoices(espeak=("el",), flite=(), accents=Accents({p: p for p in PHONES}, frozenset("aeio"), {}, {})),
    script=Script,
)  # fmt: skip

BOT = """
name: kafeneio
language: el-GR
description: Takes an order for a drink at a table.

lists:
  please: [παρακαλώ, σας παρακαλώ]

slots:
  drink:
    values:
      καφές: [καφέ, καφές, καφεδάκι]
      τσάι: [τσάι]
      λεμονάδα: [λεμονάδα]
  table:
    type: digits
    digits_min: 1
    digits_max: 2

intents:
  order:
    phrases:
      - "(θέλω|θα ήθελα) [έναν|μία] {drink} [στο τραπέζι {table}] [<please>]"
  inform:
    phrases: ["[έναν|μία] {drink}", "[στο] τραπέζι {table}", "{table}"]
  affirm:
    phrases: [ναι, σωστά]
  deny:
    phrases: [όχι]
  repeat:
    phrases: [ξανά]
  cancel:
    phrases: [άκυρο]
  operator:
    phrases: [άνθρωπο <please>]
  help:
    phrases: [βοήθεια]
  goodbye:
    phrases: [αντίο, γεια σας]

dialogue:
  tasks:
    order:
      required: [drink, table]
      confirm: true
  fill: [inform]
  affirm: [affirm]
  deny: [deny]
  repeat: [repeat]
  cancel: [cancel]
  operator: [operator]
  help: [help]
  goodbye: [goodbye]

replies:
  greet: ["Καλημέρα, είμαι βοηθός τεχνητής νοημοσύνης. Τι θα θέλατε;"]
  ask_task: ["Τι θα θέλατε;"]
  ask.drink: ["Τι θα πιείτε;"]
  ask.table: ["Σε ποιο τραπέζι[, για {drink}~acc];"]
  confirm.order: ["Ένα~ {drink} στο τραπέζι {table}, σωστά;"]
  done.order: ["Φέρνω {drink}~acc στο {table}. Κάτι άλλο;"]
  anything_else: ["Κάτι άλλο;"]
  help: ["Πείτε μου τι θα πιείτε."]
  repeat_nothing: ["Δεν είπα τίποτα ακόμη."]
  cancelled: ["Εντάξει, ακυρώθηκε."]
  handover: ["Σας συνδέω με έναν άνθρωπο."]
  apology: ["Συγγνώμη, έχουμε βλάβη."]
  goodbye: ["Αντίο σας."]
  no_input.1: ["Δεν άκουσα."]
  no_input.2: ["Ακόμη δεν ακούω."]
  no_input.3: ["Σας συνδέω."]
  no_match.1: ["Δεν κατάλαβα."]
  no_match.2: ["Συγγνώμη, ξανά;"]
  no_match.3: ["Σας συνδέω."]
"""
