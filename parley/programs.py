"""Programs of the system that something needs."""

from __future__ import annotations

import shutil

from parley.errors import ParleyError


def require(program: str) -> str:
    """Path of a program.

    Raises:
        ParleyError: it is not installed; names the Debian package.
    """
    path = shutil.which(program)
    if not path:
        raise ParleyError(f"{program} is not installed", where="PATH", mend=f"apt-get install {program}")
    return path
