"""The languages there are, and the one that a bot speaks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from parley.errors import ParleyError
from parley.language.contract import Language
from parley.language.english import ENGLISH

DEFAULT = ENGLISH.tag
"""The language of versions that were published before manifests named one."""
LANGUAGES: dict[str, Language] = {
    ENGLISH.tag: ENGLISH,
}
"""By primary subtag; one line a language."""


def language_of(tag: str) -> Language:
    """The language of a tag such as ``en-US``; the region chooses nothing yet.

    Raises:
        ParleyError: there is none; names those there are.
    """
    found = LANGUAGES.get(tag.partition("-")[0].lower())
    if found is None:
        raise ParleyError(f"no rules for the language {tag}", where="language", mend=f"languages there are: {names()}")
    return found


def names() -> str:
    """The languages there are, for a sentence."""
    return ", ".join(LANGUAGES)


@contextmanager
def with_language(language: Language) -> Iterator[None]:
    """One language more, in this process, as long as the block runs: how a new one is tried.

    Raises:
        ValueError: there is one of this tag.
    """
    if language.tag in LANGUAGES:
        raise ValueError(f"there is a language {language.tag}")
    LANGUAGES[language.tag] = language
    try:
        yield
    finally:
        del LANGUAGES[language.tag]
