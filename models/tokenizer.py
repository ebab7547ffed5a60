"""Reading a bundle's tokenizer. Torch-free: the serving clients use it."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from parley.errors import ParleyError


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json``.

    Raises:
        ParleyError: it is missing or damaged.
    """
    mend = "export the run again, or publish the version again"
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParleyError("the tokenizer is missing", where=str(path), mend=mend) from None
    except Exception as error:  # the tokenizers package raises plain Exception for bad content
        detail = " ".join(str(error).split())[:120]
        raise ParleyError(f"the tokenizer is damaged: {detail}", where=str(path), mend=mend) from None
