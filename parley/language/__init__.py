"""Languages: what callers say and hear that is not in a ``bot.yaml``. A bot's is chosen by its ``language:`` key."""

from parley.language.choice import DEFAULT, LANGUAGES, language_of, with_language
from parley.language.contract import Language, Token

__all__ = ["DEFAULT", "LANGUAGES", "Language", "Token", "language_of", "with_language"]
