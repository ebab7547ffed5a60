"""The same version at several precisions, each a bundle of its own.

| precision | weights in the file | arithmetic |
|---|---|---|
| fp32 | single | single |
| fp16 | half | half where the provider has it; ONNX Runtime's CPU provider casts around most operators |
| fp16-weights | half | single: the file is expanded when it is loaded |
| int8 | 8 bits | integer products; activations are quantised on the fly, one scale for the whole batch |
| int8-weights | 8 bits, a scale for each output channel | single, as above |
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from models.exporting import convert
from models.nlg import export as nlg
from models.nlu import export as nlu
from models.stt import export as stt
from models.tts import export as tts
from models.weights import matching_nodes
from parley.bundle import Manifest, read_manifest, write_bundle
from parley.errors import ParleyError
from parley.folder import SIGNATURE
from parley.runs import Run
from parley.settings import Settings
from registry.reading import release_of

FAMILIES = ("stt", "nlu", "nlg", "tts")
_EXPORTS: dict[str, Callable[[Run, str], Path]] = {
    "stt": stt.export,
    "nlu": nlu.export,
    "nlg": nlg.export,
    "tts": tts.export,
}
_INT8_KEEPS = {"stt": stt.INT8_KEEPS, "nlu": nlu.INT8_KEEPS, "nlg": nlg.INT8_KEEPS, "tts": tts.INT8_KEEPS}
_LEFT_OUT = (SIGNATURE, "*.pbtxt", "configs", "card.md", "model.plan")


def source_of(family: str, bot: str, runs: Path, site: Settings, scratch: Path) -> Path:
    """A bundle in fp32: the run's, exported again where it is at another precision; else the champion's version.

    Args:
        family: one of `FAMILIES`.
        bot: whose model.
        runs: folder with ``<family>-<bot>``.
        site: whose repository and champion count where there is no run.
        scratch: an empty folder, for the run's export.

    Raises:
        ParleyError: there is neither; or what there is cannot be had in fp32.
    """
    run = runs / f"{family}-{bot}"
    if (run / "bundle" / "manifest.json").is_file() and _precision(read_manifest(run / "bundle")) == "fp32":
        return run / "bundle"
    if (run / "params.json").is_file():
        copy = scratch / run.name
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("bundle", "checkpoint", "wandb", "corpus", "samples"))
        if (run / "corpus").is_dir():
            (copy / "corpus").symlink_to((run / "corpus").resolve())
        _EXPORTS[family](Run.open(copy), "fp32")
        return copy / "bundle"
    ref = {str(stage): ref for stage, ref in release_of(site, bot).stages.items()}[family]
    version = site.repo_dir / ref.model / str(ref.version)
    if (precision := _precision(read_manifest(version))) != "fp32":
        raise ParleyError(
            f"it was published as {precision}, so nothing tells what that cost", where=str(version),
            mend=f"give the run of its training as {run}",
        )  # fmt: skip
    return version


def _precision(manifest: Manifest) -> str:
    return str(manifest.parity.get("precision", ""))


def make_variant(source: Path, family: str, precision: str, target: Path) -> Path:
    """Copy an fp32 bundle and convert its graph.

    Raises:
        ParleyError: the conversion fails; says why.
    """
    manifest = read_manifest(source)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    model = target / "model.onnx"
    try:
        convert_graph(model, family, precision)
    except ParleyError:
        raise
    except Exception as error:  # the converters' errors share no narrower class
        raise ParleyError(
            f"cannot be converted to {precision}: {' '.join(str(error).split())[:200]}", where=f"{family}"
        ) from error
    parity = {"precision": precision}
    write_bundle(target, manifest.model_copy(update={"version": None, "parity": parity, "evaluation": {}}))
    return target


def convert_graph(model: Path, family: str, precision: str) -> None:
    """Convert an fp32 graph in place, but for what its family keeps out of 8 bits."""
    keeps = _INT8_KEEPS[family] if precision.startswith("int8") else ()
    convert(model, precision, matching_nodes(model, keeps))
