"""The import contract: one direction, and no torch where calls are served."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_imports_point_one_way_and_serving_never_imports_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "0 broken" in done.stdout


def test_the_clients_of_all_implementations_load_no_training_library() -> None:
    # What a library loads at run time is beyond the linter, so ask the interpreter.
    code = "import sys, models.pool; print(sorted({'torch', 'transformers', 'wandb'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("room", [path.parent.name for path in sorted(ROOT.glob("*/__init__.py"))])
def test_a_room_is_the_package_and_not_the_folder_of_its_tests(room: str) -> None:
    assert importlib.import_module(room).__file__ == str(ROOT / room / "__init__.py")
