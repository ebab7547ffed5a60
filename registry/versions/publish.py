"""Publish a bundle as the next version of its model, so that a crash at any moment leaves all of it or nothing.

    with open_for_writing(settings()) as registry:
        number = publish(Path("runs/nlu/bundle"), registry)

The version is staged beside its final place (`<model>/.staging-…`, a name Triton ignores, on the same file system),
inspected, signed and synced, and one rename makes it visible. Then the catalogue takes it in one transaction, and its
digest is pinned. Loaders want the pin and releases want the row, so a version without them is not used by anybody; the
next command mends what a killed one left: it takes the version into the catalogue, or sets it aside.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from parley import names, runs
from parley.bundle import UTTERANCES, Manifest, read_manifest
from parley.errors import ParleyError
from parley.files import fsync_dir
from parley.utterances import read_utterances
from registry import catalogue
from registry.binding import bind
from registry.layout import STAGING, model_lock, version_numbers
from registry.site import Registry
from registry.site import who as user
from registry.versions.inspection import inspecting
from registry.versions.mending import check_contract, highest_number, mend_locked, with_sizes
from registry.versions.model_config import CONFIG, config_files, write_model_config
from registry.versions.signing import staged_pin
from registry.versions.staging import Staged, check_listing, complete, copy_content, make_durable

LOG = logging.getLogger(__name__)


def publish(bundle_dir: Path, registry: Registry, *, who: str = "", why: str = "") -> int:
    """Publish `bundle_dir` as the next version of its model.

    Args:
        bundle_dir: an exported bundle.
        registry: where to.
        who: for the audit; default the user.
        why: for the audit.

    Returns:
        The version's number, one more than the highest that ever was.

    Raises:
        ParleyError: a file is not what the manifest says or not of an accepted kind, the bundle says that it learned
            from another dataset or for another bot, the model's name is unfit, its tensors differ from the other
            versions', or disk or database refuse; nothing is published then.
    """
    manifest = _acceptable(bundle_dir)
    try:
        # One connection stays open throughout: the last to close makes SQLite move its journal into the file.
        with model_lock(registry.repo, manifest.model), open_witness(registry) as witness:
            mend_locked(registry, manifest.model)
            staged = _publish_locked(bundle_dir, manifest, registry, witness, who, why)
    except OSError as error:
        raise ParleyError(
            f"cannot publish: {error.strerror or error}",
            where=str(error.filename or registry.repo / manifest.model),
            mend="check space and permissions of the repository, then publish again",
        ) from error
    number = int(staged.manifest.version or 0)
    digests = {"manifest_digest": staged.digest, "dataset_digest": manifest.lineage.dataset_digest}
    runs.log_version(bundle_dir.parent, manifest.model, number, digests, f"parley://{manifest.model}/{number}")
    return number


def _acceptable(bundle: Path) -> Manifest:
    """The manifest of a bundle that may be published, as far as names and lineage go; content is looked at when staged.

    Raises:
        ParleyError: says what is wrong.
    """
    manifest = read_manifest(bundle)
    where = str(bundle)
    if not names.is_model(manifest.model):
        raise ParleyError(f"{manifest.model!r} is no model name", where=where, mend=names.BOT_RULE)
    if not names.is_bot(manifest.bot):
        raise ParleyError(f"{manifest.bot!r} is no bot's name", where=where, mend=names.BOT_RULE)
    if "model.onnx" not in manifest.files:
        raise ParleyError("the bundle has no model.onnx", where=where, mend="export the run again")
    check_listing(bundle, manifest)
    _check_dataset(bundle, manifest)
    config_files(manifest)  # a manifest that cannot be served must fail before anything is staged
    return manifest


def _check_dataset(bundle: Path, manifest: Manifest) -> None:
    """The list of utterances must be of the dataset and the bot that the manifest names.

    Raises:
        ParleyError: it is of others, or there is none for a named dataset.
    """
    learned = read_utterances(bundle)
    dataset = manifest.lineage.dataset_digest
    path = str(bundle / UTTERANCES)
    mend = "train and export on the dataset that is meant; nothing was published"
    if learned is None:
        if dataset:
            raise ParleyError(f"does not say which utterances dataset {dataset[:12]} holds", where=path, mend=mend)
        return
    if learned.bot != manifest.bot:
        raise ParleyError(f"learned from a dataset of bot {learned.bot}, is for {manifest.bot}", where=path, mend=mend)
    if learned.dataset != dataset:
        raise ParleyError(
            f"lists dataset {learned.dataset[:12]}, the manifest names {dataset[:12] or 'none'}", where=path, mend=mend
        )
    if not learned.rows:
        raise ParleyError("lists no utterance", where=path, mend=mend)


def _publish_locked(
    bundle: Path, manifest: Manifest, registry: Registry, witness: sa.Connection, who: str, why: str
) -> Staged:
    model, site = manifest.model, registry.site
    with registry.catalogue.read() as c:
        manifest = with_sizes(c, manifest)
        check_contract(c, manifest)
        number = max(catalogue.next_number(c, model), highest_number(registry, model) + 1)
    lineage = manifest.lineage.model_copy(update={"tracking": runs.tracking(bundle.parent, model, number)})
    manifest = manifest.model_copy(update={"version": number, "lineage": lineage})
    with staging_folder(registry, model) as staging:
        digests = copy_content(bundle, manifest, staging)
        with inspecting(staging):  # the copies, so that what is inspected is what is published; in another process
            staged = complete(manifest, staging, digests, site)
            make_durable(staging)
        put_in_place(registry, staged, witness, who=who, why=why)
    return staged


@contextlib.contextmanager
def staging_folder(registry: Registry, model: str) -> Iterator[Path]:
    """A folder beside the versions of a model, for whoever holds its lock; gone again when the block fails."""
    directory = registry.repo / model
    made = not directory.is_dir()
    directory.mkdir(parents=True, exist_ok=True)
    if made:
        fsync_dir(registry.repo)
    staging = Path(tempfile.mkdtemp(dir=directory, prefix=STAGING))
    try:
        yield staging
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if made:
            _remove_empty(directory)
        raise


def put_in_place(
    registry: Registry, staged: Staged, witness: sa.Connection, *, who: str, why: str, what: str = "publish"
) -> None:
    """Make a staged, durable version visible, then known, then pinned.

    Args:
        registry: whose model's lock the caller holds.
        staged: complete, verified, brought to the disk.
        witness: from `open_witness`.
        who: for the audit; default the user.
        why: for the audit.
        what: for the audit.

    Raises:
        ParleyError: the database refuses; the version is gone again then.
        OSError: the disk refuses.
    """
    bind(registry)
    model, number = staged.manifest.model, int(staged.manifest.version or 0)
    version = staged.directory.with_name(str(number))
    with staged_pin(registry.site, model, number, staged.digest) as pin:
        staged.directory.rename(version)
        fsync_dir(version.parent)
        _record(registry, version, staged, witness, who=who, why=why, what=what)
        try:
            pin()
        except OSError as error:  # it is published: who loads it, and the next command, write the pin
            LOG.warning("%s version %d has no pin yet: %s", model, number, error)
    newest = version.parent / str(version_numbers(version.parent)[-1])
    try:
        write_model_config(read_manifest(newest), version.parent)
    except (OSError, ParleyError) as error:  # copies that nothing depends on; the next command makes them
        LOG.warning("%s is as it was: %s", version.parent / CONFIG, error)


@contextlib.contextmanager
def open_witness(registry: Registry) -> Iterator[sa.Connection]:
    """A connection that is open before anything is visible: where the disk is full, none could be opened afterwards."""
    with registry.catalogue.read() as c:
        catalogue.next_number(c, "")
        c.rollback()
        yield c


def _record(
    registry: Registry, version: Path, staged: Staged, witness: sa.Connection, *, who: str, why: str, what: str
) -> None:
    """Take the visible version into the catalogue; when the database refuses, it was never there."""
    manifest = staged.manifest
    try:
        with registry.catalogue.write() as c:
            catalogue.record_version(c, version, manifest, who=who or user(), key_id=staged.key_id, what=what, why=why)
    except BaseException:
        # Only when the database says so itself: a lost connection may have committed. Then the next command mends.
        with contextlib.suppress(ParleyError, sa.exc.SQLAlchemyError, OSError):
            witness.rollback()
            if manifest.version not in {row.number for row in catalogue.versions(witness, model=manifest.model)}:
                withdrawn = version.with_name(f"{STAGING}withdrawn-{version.name}")
                version.rename(withdrawn)
                shutil.rmtree(withdrawn, ignore_errors=True)
        raise


def _remove_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()
