"""A scratch site with small real models, for measuring the registry without anybody's data.

    with scratch_site("barista", Path("bots")) as (registry, publisher):
        publisher.publish(publisher.prepare("stt"))

Each model takes a chunk and a state and returns a new state, as a streaming recogniser does, and says which version
answered: a request that was answered by another version than it asked for can be told.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from parley.bundle import FAMILIES, Manifest, TensorSpec, read_manifest, write_bundle
from parley.folder import MANIFEST, SIGNATURE
from parley.settings import Settings
from registry.catalogue import next_number
from registry.loading import SiteLoader
from registry.releasing.creating import create_release
from registry.releasing.promotion import promote
from registry.site import Registry
from registry.versions.publish import publish
from registry.writing import open_for_writing

CHUNK, STATE, HIDDEN = 320, 768, 512
"""Values of a chunk, of a state (3 KB, as a small GRU's), and width of the layer between them."""


def small_bundle(directory: Path, bot: str, family: str, number: int) -> Path:
    """A graph with 1.1 million weights: new_state = relu([chunk, state] A) B; version = `number` per item."""
    rng = np.random.default_rng(number)
    weights = {
        "a": rng.normal(0, 0.03, (CHUNK + STATE, HIDDEN)).astype(np.float32),
        "b": rng.normal(0, 0.03, (HIDDEN, STATE)).astype(np.float32),
        "number": np.full((1, 1), number, np.float32),
        "first": np.array([[1.0]] + [[0.0]] * (STATE - 1), np.float32),
        "zero": np.zeros((1,), np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Concat", ["chunk", "state"], ["both"], axis=1),
            helper.make_node("MatMul", ["both", "a"], ["wide"]),
            helper.make_node("Relu", ["wide"], ["active"]),
            helper.make_node("MatMul", ["active", "b"], ["new_state"]),
            helper.make_node("MatMul", ["new_state", "first"], ["any"]),
            helper.make_node("Mul", ["any", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "number"], ["version"]),
        ],
        "small",
        [_value("chunk", CHUNK), _value("state", STATE)],
        [_value("new_state", STATE), _value("version", 1)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 9
    directory.mkdir(parents=True)
    onnx.save(proto, str(directory / "model.onnx"))
    manifest = Manifest(
        family=family,  # type: ignore[arg-type]
        bot=bot,
        model=f"{bot}_{family}",
        inputs=[_spec("chunk", CHUNK), _spec("state", STATE)],
        outputs=[_spec("new_state", STATE), _spec("version", 1)],
        preferred_batch_sizes=[4, 8],
    )
    write_bundle(directory, manifest)
    return directory


def small_inputs() -> dict[str, NDArray[Any]]:
    """One request."""
    return {"chunk": np.ones((1, CHUNK), np.float32), "state": np.zeros((1, STATE), np.float32)}


def _spec(name: str, size: int) -> TensorSpec:
    return TensorSpec(name=name, dtype="FP32", dims=[size])


def _value(name: str, size: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])


class Publisher:
    """Publishes versions of a bot's four models: small ones, or a site's starter versions again and again.

    Args:
        registry: where to.
        bot: whose models.
        source: a repository with a version of each, whose files are published under the next numbers; None makes
            small models.
    """

    def __init__(self, registry: Registry, bot: str, source: Path | None = None) -> None:
        self._registry, self._bot, self._source = registry, bot, source
        self._bundles = registry.site.state_dir / "bundles"

    def prepare(self, family: str) -> Path:
        """The bundle of the next version, which training would have made elsewhere."""
        model = f"{self._bot}_{family}"
        with self._registry.catalogue.read() as c:
            number = next_number(c, model)
        bundle = self._bundles / model
        shutil.rmtree(bundle, ignore_errors=True)
        if self._source is None:
            return small_bundle(bundle, self._bot, family, number)
        newest = max((p for p in (self._source / model).iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
        manifest = read_manifest(newest)
        shutil.copytree(newest, bundle, ignore=shutil.ignore_patterns(SIGNATURE, MANIFEST, "*.pbtxt"))
        for path in bundle.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.rmtree(bundle / "configs", ignore_errors=True)
        write_bundle(bundle, manifest.model_copy(update={"version": None}))
        return bundle

    def publish(self, bundle: Path) -> int:
        """Publish a prepared bundle; its number."""
        return publish(bundle, self._registry, who="benchmark")


@contextmanager
def scratch_site(bot: str, bots_dir: Path, source: Path | None = None) -> Iterator[tuple[Registry, Publisher]]:
    """A site in a folder of its own that is removed afterwards: a first release of `bot` answers."""
    with tempfile.TemporaryDirectory(prefix="parley-benchmark-") as name:
        folder = Path(name)
        (folder / "bots" / bot).mkdir(parents=True)
        shutil.copy(bots_dir / bot / "bot.yaml", folder / "bots" / bot / "bot.yaml")
        site = Settings(
            bots_dir=folder / "bots",
            repo_dir=folder / "repo",
            state_dir=folder / "var",
            trusted_keys_dir=folder / "keys",
        )
        with open_for_writing(site, new=True) as registry:
            publisher = Publisher(registry, bot, source)
            stages: dict[str, int] = {family: publisher.publish(publisher.prepare(family)) for family in FAMILIES}
            first = create_release(registry, bot, stages, who="benchmark", why="the first")
            promote(
                registry, bot, first.number, loader=SiteLoader(registry), who="benchmark", why="the first", force=True
            )
            yield registry, publisher
