"""Publishes on a disk that is full after so many pages, for every number of pages until it fits. Prints JSON.

publisher_disk.py FOLDER mount      FOLDER becomes a small file system of its own (a mount namespace)
publisher_disk.py FOLDER limit      no file may grow beyond so many bytes (where mounting is forbidden)
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from publisher_kills import MODEL, faults, rows_of, unsettled
from serving_models import publish_all, registry_at, scaler_bundle

from parley.errors import ParleyError
from registry.layout import version_numbers
from registry.versions.publish import publish

PAGE = 4096
DISK = 4 << 20


@contextlib.contextmanager
def room_for(pages: int, folder: Path, mode: str) -> Iterator[None]:
    """Leave so many pages on the disk, or allow files of so many pages, while the block runs."""
    if mode == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (pages * PAGE, resource.RLIM_INFINITY))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(PAGE))
    with filler.open("r+b") as file:
        file.truncate(max(0, filler.stat().st_size - pages * PAGE))
    yield
    filler.unlink()


def publish_on_full_disks(folder: Path, mode: str) -> dict[str, Any]:
    """What each attempt failed with, and what was wrong afterwards."""
    bundle = scaler_bundle(folder / "bundle", 3)
    site = folder / "site"
    publish_all(site, scaler_bundle(folder / "first", 2))
    report: dict[str, Any] = {"full": 0, "messages": [], "faults": []}
    published = False
    pages = 0
    while not published:
        with room_for(pages, folder, mode):
            try:
                with registry_at(site) as registry:
                    publish(bundle, registry)
                published = True
            except ParleyError as error:
                report["full"] += 1
                if error.what not in report["messages"]:
                    report["messages"].append(error.what)
        allowed = [[1, 2]] if published else [[1]]
        with registry_at(site, mend=False) as registry:  # a publisher that lives cleans up behind itself
            report["faults"] += [f"{pages} pages: {f}" for f in faults(registry, allowed) + unsettled(registry)]
            if not published and version_numbers(registry.repo / MODEL) != [1]:
                report["faults"].append(f"{pages} pages: refused, and there is a version")
        pages += 1 if mode == "mount" else 2
    with registry_at(site) as registry:
        report["faults"] += unsettled(registry)
        report["versions"] = sorted(rows_of(registry))
    return report


def main(folder: Path, mode: str) -> None:
    """Run in the mode asked for."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if mode == "mount":
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True)
    print(json.dumps(publish_on_full_disks(folder, mode)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
