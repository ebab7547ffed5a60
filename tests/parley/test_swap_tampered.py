"""What somebody who can write to the repository might try: no engine opens it, and the rest serves."""

from __future__ import annotations

import py_compile
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serving_models import damage
from serving_site import GOOD, MODEL, add_version, control_of, engine_of, flowing, keep, open_site, serving

from parley.bundle import read_manifest, write_bundle
from parley.serving.engine import EngineRejected
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.triton_control import HttpControl
from parley.serving.triton_server import TritonServer
from parley.serving.trust import Trust
from registry.served import ServedView
from registry.site import Registry

pytestmark = [pytest.mark.triton, pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_site(tmp_path, versions=2) as opened:
        yield opened


@pytest.fixture
def server(registry: Registry) -> Iterator[TritonServer]:
    with serving(registry) as running:
        yield running


Trick = Callable[[Path, Registry, Path], None]
"""Gets the version's folder, the site, and a place for files."""


def altered_weights(version: Path, registry: Registry, folder: Path) -> None:
    damage(version / "model.onnx")


def swapped_tokenizer(version: Path, registry: Registry, folder: Path) -> None:
    labels = version / "labels.json"
    labels.chmod(0o644)
    labels.write_text('["refund"]\n')


def swapped_tokenizer_with_its_digest(version: Path, registry: Registry, folder: Path) -> None:
    swapped_tokenizer(version, registry, folder)
    for name in ("manifest.json", "model.sig"):
        (version / name).chmod(0o644)
    signature = (version / "model.sig").read_bytes()
    (version / "model.sig").unlink()
    write_bundle(version, read_manifest(version))
    (version / "model.sig").write_bytes(signature)


def added_file(version: Path, registry: Registry, folder: Path) -> None:
    (version / "notes.txt").write_text("harmless")


def planted_code(version: Path, registry: Registry, folder: Path) -> None:
    (version / "model.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


def planted_compiled_code(version: Path, registry: Registry, folder: Path) -> None:
    planted_code(version, registry, folder)
    py_compile.compile(str(version / "model.py"), cfile=str(version / "__pycache__" / "model.cpython-311.pyc"))
    (version / "model.py").unlink()


def planted_library(version: Path, registry: Registry, folder: Path) -> None:
    """Triton runs a backend's library that it finds beside a version, instead of its own."""
    code = folder / "planted.c"
    code.write_text(
        "#include <stdio.h>\n__attribute__((constructor)) static void run(void)\n"
        f'{{ fclose(fopen("{folder / "ran"}", "w")); }}\n'
    )
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", version / "libtriton_parley.so", code], check=True)


def signature_of_another_model(version: Path, registry: Registry, folder: Path) -> None:
    (version / "model.sig").unlink()
    shutil.copy(registry.repo / MODEL / "1" / "model.sig", version / "model.sig")


def an_older_version_put_back(version: Path, registry: Registry, folder: Path) -> None:
    shutil.rmtree(version)
    shutil.copytree(registry.repo / MODEL / "1", version)


def another_sites_version_of_that_number(version: Path, registry: Registry, folder: Path) -> None:
    with open_site(folder / "other") as other:
        shutil.copytree(registry.site.state_dir / "keys", other.site.state_dir / "keys")
        for number in range(1, int(version.name) + 1):
            add_version(other, folder / f"theirs{number}", number)
    shutil.rmtree(version)
    shutil.copytree(other.repo / MODEL / version.name, version)


def foreign_key(version: Path, registry: Registry, folder: Path) -> None:
    with open_site(folder / "other") as other:
        for number in range(1, int(version.name) + 1):
            add_version(other, folder / f"theirs{number}", number)
    shutil.rmtree(version)
    shutil.copytree(other.repo / MODEL / version.name, version)


def link_in_place_of_the_weights(version: Path, registry: Registry, folder: Path) -> None:
    shutil.move(version / "model.onnx", folder / "model.onnx")
    (version / "model.onnx").symlink_to(folder / "model.onnx")


def no_signature(version: Path, registry: Registry, folder: Path) -> None:
    (version / "model.sig").unlink()


TRICKS: dict[Trick, str] = {
    altered_weights: r"model\.onnx: file is altered",
    swapped_tokenizer: r"labels\.json: file is altered",
    swapped_tokenizer_with_its_digest: "is altered",
    added_file: r"notes\.txt: file is not signed",
    planted_code: r"model\.py: file is not signed",
    planted_compiled_code: r"model\.cpython-311\.pyc: file is not signed",
    planted_library: r"libtriton_parley\.so: file is not signed",
    signature_of_another_model: "is altered",
    an_older_version_put_back: "is barista_nlu version 1, not barista_nlu version 2",
    another_sites_version_of_that_number: "not the version this site accepted",
    foreign_key: "this site does not trust",
    link_in_place_of_the_weights: r"model\.onnx: a symlink",
    no_signature: r"model\.sig: not signed",
}


@pytest.mark.parametrize(("trick", "says"), TRICKS.items(), ids=[trick.__name__ for trick in TRICKS])
async def test_both_engines_refuse_what_is_not_what_was_published_while_the_rest_serves(
    registry: Registry, tmp_path: Path, trick: Trick, says: str
) -> None:
    keep(registry, 1)
    with serving(registry) as server:
        view = ServedView(registry)
        view.folder.unlink(MODEL, 2)
        HttpControl(server.http_address).load(MODEL)
        trick(registry.repo / MODEL / "2", registry, tmp_path)
        async with engine_of(server) as engine, OnnxEngine(registry.repo, Trust.of(registry.site)) as in_process:
            async with flowing(engine, 1):
                view.folder.link(MODEL, 2)  # past the view's own check: the server is on its own
                with pytest.raises(EngineRejected, match=says):
                    await engine.load(MODEL)
                with pytest.raises(EngineRejected, match=says):
                    await in_process.infer(MODEL, 2, GOOD)

            assert not await engine.ready(MODEL, 2) and not await in_process.ready(MODEL, 2)
            assert await in_process.ready(MODEL, 1)
        assert not (tmp_path / "ran").exists()


async def test_a_version_without_a_pin_is_not_opened_by_the_server(
    server: TritonServer, registry: Registry, tmp_path: Path
) -> None:
    add_version(registry, tmp_path / "new", 3)
    (registry.site.state_dir / "pins" / MODEL / "3").unlink()
    ServedView(registry).folder.link(MODEL, 3)

    with pytest.raises(EngineRejected, match="never accepted this version"):
        control_of(server).load(MODEL)

    assert control_of(server).serving() == {MODEL: {1, 2}}
