"""What a loader believes: the public keys of a site, and the pins its catalogue left.

    trust = Trust.of(settings())
    manifest = trust.verify(Path("triton_repo/barista_nlu/1"), "barista_nlu", 1, pinned=True)

Both engines check a version with this before they open it; Triton's backend has it done in a process of its own
(`parley.serving.handover`), which is why nothing here imports more than the standard library and
`parley.signatures` does.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parley.errors import ParleyError
from parley.signatures import pass_over, verify_version

if TYPE_CHECKING:
    from parley.settings import Settings

KEYS_VARIABLE, PINS_VARIABLE = "PARLEY_TRUSTED_KEYS", "PARLEY_PINS"
"""How the server's environment tells the checks where to look."""


@dataclass(frozen=True)
class Trust:
    """Where the keys and pins of a site lie. Both are read afresh at each check, so that a key or pin that comes later
    counts without a restart."""

    keys: tuple[Path, ...]
    """Public keys: files, or folders of `*.pem`. What does not exist is no key."""
    pins: Path
    """`<model>/<number>` holds the SHA-256 of the manifest that the catalogue accepted under that number."""

    @classmethod
    def of(cls, settings: Settings) -> Trust:
        """What a site trusts: the keys its operator put into `trusted_keys_dir`, and its own."""
        return cls.of_state(settings.state_dir, settings.trusted_keys_dir)

    @classmethod
    def of_state(cls, state_dir: Path, *keys: Path) -> Trust:
        """The keys given, the key that a state folder publishes with, and the folder's pins."""
        own = state_dir.absolute() / "keys" / "signing.pub.pem"
        return cls((*(key.absolute() for key in keys), own), state_dir.absolute() / "pins")

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Trust:
        """The trust that `environment` made for another process.

        Raises:
            ParleyError: the variables are not there, so nothing can be trusted.
        """
        if not environment.get(KEYS_VARIABLE) or not environment.get(PINS_VARIABLE):
            raise ParleyError(
                "this server was not told which keys to trust",
                where=f"{KEYS_VARIABLE}, {PINS_VARIABLE}",
                mend="start it with `parley serve` or `parley triton start`, or set both for the server",
            )
        try:
            keys = json.loads(environment[KEYS_VARIABLE])
            return cls(tuple(Path(key) for key in keys), Path(environment[PINS_VARIABLE]))
        except (ValueError, TypeError):
            raise ParleyError(
                "does not list the trusted keys", where=KEYS_VARIABLE, mend='give a JSON list of paths: ["/etc/keys"]'
            ) from None

    def environment(self) -> dict[str, str]:
        """The variables that carry this trust to a server and its checks: paths, never a secret."""
        # JSON, because a path may hold whatever else could stand between two.
        return {KEYS_VARIABLE: json.dumps([str(key) for key in self.keys]), PINS_VARIABLE: str(self.pins)}

    def key_files(self) -> list[Path]:
        """The public keys that exist now. A folder that may not be read holds none, which is said once."""
        found: list[Path] = []
        for key in self.keys:
            try:
                if stat.S_ISDIR(key.stat().st_mode):
                    found += sorted(key / name for name in os.listdir(key) if name.endswith(".pem"))
                else:
                    found.append(key)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                pass_over(key, error)
        return found

    def pin(self, model: str, number: int) -> str | None:
        """The manifest digest that the catalogue accepted for this version; None when it never accepted one."""
        path = self.pins / model / str(number)
        try:
            return path.read_text(encoding="ascii").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError:
            raise ParleyError("a damaged pin", where=str(path), mend="restore it from a backup") from None

    def verify(self, directory: Path, model: str, number: int, *, pinned: bool) -> dict[str, Any]:
        """Check signature, files and pin of a published version and return its manifest.

        Args:
            directory: the version itself, not a link to it.
            model, number: what it was asked for as.
            pinned: refuse a version without a pin; otherwise a pin counts where there is one.

        Raises:
            ParleyError: names the file that is at fault, or the version when the catalogue does not know it.
        """
        pin = self.pin(model, number)
        if pin is None and pinned:
            raise ParleyError(
                "the catalogue of this site never accepted this version",
                where=str(directory),
                mend="publish or import it here; `parley catalogue rebuild` where the catalogue was lost",
            )
        return verify_version(directory, self.key_files(), model=model, number=number, pin=pin)
