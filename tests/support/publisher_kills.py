"""Kills publishers between every two of their steps, and looks at what they leave. Run as a script it prints JSON.

    python tests/support/publisher_kills.py FOLDER [publish|adopt]

A child forked from this warm process publishes (or mends) and kills itself with SIGKILL at its k-th step, for k = 1, 2,
3 … until it survives. A step is whatever changes the disk or the catalogue: Python's audit events of opening a file for
writing, renaming, removing, making a folder, changing rights, locking and opening SQLite; each fsync; each statement
and each commit of the catalogue. In a process of its own, so that no thread of another test is forked.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from serving_models import publish_all, registry_at, scaler_bundle

from parley.errors import ParleyError
from parley.signatures import verify_version
from registry import catalogue
from registry.layout import leftovers, model_lock, version_numbers
from registry.site import Registry
from registry.versions.mending import unsettled_models
from registry.versions.publish import publish
from registry.versions.signing import pins, read_pin, trusted_keys

MODEL = "barista_nlu"
CHANGES = {
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink", "os.truncate",
    "shutil.rmtree", "fcntl.flock", "sqlite3.connect",
}  # fmt: skip


class Steps:
    """Counts the steps of this process, and kills it at one of them."""

    def __init__(self, deadly: int) -> None:
        self.count, self.deadly, self.pid = 0, deadly, os.getpid()

    def step(self) -> None:
        """One more; the child that inspects a bundle does not count."""
        if os.getpid() != self.pid:
            return
        self.count += 1
        if self.count == self.deadly:
            os.kill(self.pid, signal.SIGKILL)

    def watch(self) -> None:
        """Count from here on."""
        sync = os.fsync

        def counted(handle: int) -> None:
            self.step()
            sync(handle)

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if writes or event in CHANGES:
                self.step()

        os.fsync = counted  # type: ignore[assignment]
        sa.event.listen(sa.Engine, "before_cursor_execute", lambda *_: self.step())
        sa.event.listen(sa.Engine, "commit", lambda *_: self.step())
        sys.addaudithook(hook)


def in_child(act: Callable[[], object], deadly: int, count: Path) -> tuple[bool, str]:
    """Run `act` in a fork that dies at its `deadly` step; whether it died, and what it failed with otherwise."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            steps = Steps(deadly)
            steps.watch()
            act()
            status = 0
        except BaseException as error:  # to the parent, whatever it is
            count.write_text(repr(error))
        finally:
            os._exit(status)
    status = os.waitpid(pid, 0)[1]
    died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return died, "" if died or status == 0 else count.read_text()


def let_go(site: Path) -> None:
    """Wait until a child that was forked just before the kill has closed what it inherited, the lock among it."""
    with model_lock(site / "repo", MODEL):
        pass


def rows_of(registry: Registry) -> dict[int, str]:
    """Number and digest of what the catalogue has."""
    with registry.catalogue.read() as c:
        return {row.number: row.digest for row in catalogue.versions(c, model=MODEL)}


def faults(registry: Registry, allowed: list[list[int]]) -> list[str]:
    """What is neither the old state nor the new one, as loaders and the catalogue's readers see it."""
    directory, site, found = registry.repo / MODEL, registry.site, []
    rows, visible = rows_of(registry), version_numbers(directory)
    pinned = [number for number in visible if read_pin(site, MODEL, number) is not None]
    lost = sorted(int(p.name) for p in (pins(site) / MODEL).glob("[0-9]*") if int(p.name) not in visible)
    if lost:
        found.append(f"pinned and missing: {lost}")
    if sorted(rows) not in allowed:
        found.append(f"the catalogue has {sorted(rows)}")
    if pinned not in allowed:
        found.append(f"loaders see {pinned}")
    for number in {*rows, *visible}:
        try:
            verify_version(
                directory / str(number), trusted_keys(site), model=MODEL, number=number, pin=rows.get(number)
            )
        except (ParleyError, OSError) as error:
            found.append(f"version {number} is not whole: {error}")
    return found


def unsettled(registry: Registry) -> list[str]:
    """What mending left undone."""
    numbers = version_numbers(registry.repo / MODEL)
    found = [f"unsettled: {model}" for model in unsettled_models(registry)]
    found += [f"left over: {path.name}" for path in leftovers(registry.repo / MODEL)]
    found += [f"left over: {path.name}" for path in leftovers(pins(registry.site) / MODEL)]
    found += [f"refused: {path.name}" for path in (registry.repo / MODEL).glob(".refused*")]
    if sorted(rows_of(registry)) != numbers:
        found.append(f"the catalogue has {sorted(rows_of(registry))}, the repository {numbers}")
    found += [f"no pin for {number}" for number in numbers if read_pin(registry.site, MODEL, number) is None]
    return found


def scene(folder: Path, start: Path, deadly: int) -> Path:
    """A fresh copy of the site that the publishers find."""
    site = folder / f"kill{deadly}"
    shutil.copytree(start, site, symlinks=True)
    return site


def kill_publishers(folder: Path) -> dict[str, Any]:
    """Publish version 2 beside version 1, dying at each step; then publish again."""
    bundle = scaler_bundle(folder / "bundle", 3)
    publish_all(folder / "start", scaler_bundle(folder / "first", 2))
    report: dict[str, Any] = {"kills": 0, "faults": [], "seen": []}
    died = True
    while died:
        deadly = report["kills"] + 1
        site = scene(folder, folder / "start", deadly)

        def act(site: Path = site) -> None:
            with registry_at(site) as registry:
                publish(bundle, registry)

        died, failed = in_child(act, deadly, folder / "failure")
        let_go(site)
        report["kills"] += died
        with registry_at(site, mend=False) as registry:
            report["faults"] += [f"{deadly}: {fault}" for fault in faults(registry, [[1], [1, 2]])]
            seen = [len(rows_of(registry)), len(version_numbers(registry.repo / MODEL))]
        with registry_at(site) as registry:  # the next command, whatever it is, mends
            report["faults"] += [f"{deadly}, mended: {fault}" for fault in unsettled(registry)]
            before = version_numbers(registry.repo / MODEL)
            number = publish(bundle, registry)
            report["faults"] += [f"{deadly}, after: {fault}" for fault in unsettled(registry)]
            report["faults"] += [f"{deadly}, after: {f}" for f in faults(registry, [[*before, number]])]
            if number != before[-1] + 1 or failed:
                report["faults"].append(f"{deadly}: number {number} after {before} {failed}")
        if seen not in report["seen"]:
            report["seen"].append(seen)
        shutil.rmtree(site)
    return report


def kill_menders(folder: Path) -> dict[str, Any]:
    """Mend a clone that nobody knows yet, beside a killed publisher's remnants, dying at each step; then mend again."""
    start = folder / "start"
    first = publish_all(start, scaler_bundle(folder / "first", 2))
    (start / "keys").mkdir()
    shutil.copyfile(start / "var" / "keys" / "signing.pub.pem", start / "keys" / "publisher.pem")
    shutil.rmtree(start / "var")
    (first.repo_dir / ".parley-site.json").unlink()  # as a clone has none
    remnant = first.repo_dir / MODEL / ".staging-x"
    remnant.mkdir()
    (remnant / "model.onnx").write_bytes(b"half")
    shutil.rmtree(first.repo_dir / MODEL / "configs")
    report: dict[str, Any] = {"kills": 0, "faults": []}
    died = True
    while died:
        deadly = report["kills"] + 1
        site = scene(folder, start, deadly)
        died, failed = in_child(lambda site=site: registry_at(site).close(), deadly, folder / "failure")
        let_go(site)
        report["kills"] += died
        with registry_at(site, mend=False) as registry:
            report["faults"] += [f"{deadly}: {fault}" for fault in faults(registry, [[], [1]])]
        with registry_at(site) as registry:
            report["faults"] += [f"{deadly}, mended: {fault}" for fault in unsettled(registry)]
            report["faults"] += [f"{deadly}, mended: {fault}" for fault in faults(registry, [[1]])]
        if failed:
            report["faults"].append(f"{deadly}: {failed}")
        shutil.rmtree(site)
    return report


if __name__ == "__main__":
    report = {"publish": kill_publishers, "adopt": kill_menders}[sys.argv[2]](Path(sys.argv[1]))
    print(json.dumps(report))
