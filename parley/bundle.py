"""Bundles: the content of one version directory, and the manifest that binds it.

A bundle holds ``model.onnx``, the assets its pre- and post-processing need, ``utterances.tsv`` (what it learned from,
see :mod:`parley.utterances`) and ``manifest.json`` with the SHA-256 of every other file. Publishing adds the server's
configurations, a model card and ``model.sig``, the signature over all of it. Once published it never changes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parley import implementation
from parley.errors import ParleyError
from parley.files import sha256_file, write_atomic
from parley.folder import MANIFEST, SIGNATURE, UTTERANCES, list_files
from parley.implementation import FAMILIES, Family

__all__ = [
    "BOT",
    "FAMILIES", "MANIFEST", "SIGNATURE", "UTTERANCES", "Family", "Lineage", "Manifest", "TensorSpec", "VersionRef",
    "read_manifest", "verify_files", "write_bundle",
]  # fmt: skip
BOT = "bot.json"
"""The whole bot file that a version was trained on, as data; NLU and NLG keep it."""


class VersionRef(Protocol):
    """A model and the number of its version."""

    @property
    def model(self) -> str: ...
    @property
    def version(self) -> int: ...


DType = Literal["FP32", "FP16", "INT64", "INT32", "INT16", "INT8", "UINT8", "BOOL"]


class TensorSpec(BaseModel):
    """One input or output of the graph; ``dims`` leaves out the batch, -1 is dynamic."""

    model_config = ConfigDict(frozen=True)

    name: str
    dtype: DType
    dims: list[int]


class Lineage(BaseModel):
    """Where a version comes from."""

    git_commit: str = ""
    git_dirty: bool = False
    dataset_digest: str = ""
    bot_digest: str = ""
    params: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    environment: dict[str, str] = Field(default_factory=dict)
    tracking: dict[str, str] = Field(default_factory=dict)
    """Where the training was mirrored: ``run`` and ``artifact`` on Weights & Biases, see :mod:`parley.runs`."""


class Manifest(BaseModel):
    """What ``manifest.json`` holds. Generated from the network at export, never typed by hand."""

    schema_version: int = 1
    family: Family
    bot: str
    model: str
    """Name in the Triton repository: ``<bot>_<family>``."""
    sizes: str = Field(default="", pattern=f"^$|^{implementation.SIZES}$")
    """Digest of its tensors, where their sizes are not those of the first version of its model and implementation.
    Publishing says so; a part of the name that a Triton server knows it by."""
    implementation: str = Field(default="", pattern=f"^$|^{implementation.NAME}$")
    """Which of `models.implementations` reads it, ``phone-ctc-grammar/1``. Older manifests name none: ask `read_by`."""
    sample_rate: int | None = None
    """Of the audio that an STT takes or a TTS gives, in Hz. Older manifests have it among the constants: ask
    `audio_rate`."""
    version: int | None = None
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    max_batch_size: int = 16
    preferred_batch_sizes: list[int] = Field(default_factory=list)
    instance_count: int = 1
    warmup: dict[str, list[int]] = Field(default_factory=dict)
    """Input name to the dims (without batch) of the warm-up request; zeros are sent."""
    constants: dict[str, Any] = Field(default_factory=dict)
    """The family's facts a client needs: sample rate, chunk, look-ahead, label names ..."""
    lineage: Lineage = Field(default_factory=Lineage)
    parity: dict[str, Any] = Field(default_factory=dict)
    """torch against ONNX on real inputs: maximum error, tolerance, precision, inputs checked."""
    evaluation: dict[str, Any] = Field(default_factory=dict)
    data_licence: str = ""
    provides: dict[str, str] = Field(default_factory=dict)
    """What the stages behind this one may rely on, ``{"casing": "lower"}``."""
    requires: dict[str, str] = Field(default_factory=dict)
    """What this version needs of others in its release: ``{"stt.casing": "lower"}``, looked up in that stage's
    ``provides``."""
    files: dict[str, str] = Field(default_factory=dict)
    """Relative path to SHA-256, every file but the manifest and the signature."""

    @property
    def read_by(self) -> str:
        """The implementation that reads this version, whether or not the manifest is of an age that names it."""
        return implementation.implementation_of(self.family, self.implementation, self.files)

    @property
    def served_as(self) -> str:
        """The name by which a Triton server knows this version's model."""
        return implementation.served_name(self.model, self.family, self.read_by, self.sizes)

    @property
    def audio_rate(self) -> int:
        """Of the audio that it takes or gives, in Hz.

        Raises:
            ParleyError: the manifest does not say.
        """
        rate = self.sample_rate or self.constants.get("sample_rate")
        if not isinstance(rate, int) or rate <= 0:
            raise ParleyError("the manifest names no sample rate", where=self.model, mend="export the run again")
        return rate


def _content(directory: Path) -> dict[str, Path]:
    return {name: path for name, path in list_files(directory).items() if name not in (MANIFEST, SIGNATURE)}


def write_bundle(directory: Path, manifest: Manifest) -> Manifest:
    """Hash every file in ``directory`` and write its ``manifest.json`` in one rename."""
    files = {name: sha256_file(path) for name, path in _content(directory).items()}
    complete = manifest.model_copy(update={"files": files})
    write_atomic(directory / MANIFEST, complete.model_dump_json(indent=2) + "\n")
    return complete


def read_manifest(directory: Path) -> Manifest:
    """Read a bundle's manifest.

    Raises:
        ParleyError: it is missing or is not one.
    """
    path = directory / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParleyError("no manifest.json", where=str(directory), mend="export the run again") from None
    except (ValidationError, UnicodeDecodeError) as error:
        detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "not text"
        raise ParleyError(f"manifest is damaged: {detail}", where=str(path), mend="publish the version again") from None


def verify_files(directory: Path) -> Manifest:
    """Check every file of a bundle against its manifest and return the manifest.

    This finds accidents; who made the manifest is what :func:`parley.signatures.verify_version` proves.

    Raises:
        ParleyError: names the first file that is missing, altered, not listed, or a link.
    """
    manifest = read_manifest(directory)
    present = _content(directory)
    mend = "restore it from git, or publish the version again"
    for name, digest in manifest.files.items():
        if name not in present:
            raise ParleyError("file is missing", where=str(directory / name), mend=mend)
        if sha256_file(present[name]) != digest:
            raise ParleyError(
                "file is altered: its SHA-256 is not the manifest's", where=str(directory / name), mend=mend
            )
    for name, path in present.items():
        if name not in manifest.files:
            raise ParleyError("file is not listed in the manifest", where=str(path), mend="remove it")
    return manifest
