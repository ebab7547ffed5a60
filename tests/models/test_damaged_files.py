"""A damaged file of a run, a dataset or a corpus is one line that names it, whoever reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from models.checkpoints import load_checkpoint  # noqa: E402
from models.nlu.pretrained import read_sentence_encoder  # noqa: E402
from models.pronunciation import pronunciations  # noqa: E402
from models.run_directory import read_run_json  # noqa: E402
from models.stt.confidence import POINTS, read_points  # noqa: E402
from models.stt.splice import WORDS, read_words  # noqa: E402
from models.tts.data import load  # noqa: E402
from models.tts.train import shape_of  # noqa: E402
from parley.errors import ParleyError  # noqa: E402
from parley.language import DEFAULT, language_of  # noqa: E402
from parley.runs import Run  # noqa: E402


def _state(run: Path) -> Any:
    from safetensors.torch import save_file

    network = torch.nn.Linear(1, 1)
    save_file(network.state_dict(), run / "best" / "model.safetensors")
    return load_checkpoint(run / "best", network)


def _words(run: Path) -> Any:
    dataset: Any = SimpleNamespace(path=run)
    return read_words(dataset)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "a run": ("params.json", Run.open),
    "its figures": ("figures.json", lambda run: Run(run, {}).figures(seen=1)),
    "its labels": ("labels.json", lambda run: read_run_json(Run(run, {}), "labels.json")),
    "its checkpoint": ("best/state.json", _state),
    "a voice's shape": ("config.json", shape_of),
    "an earlier voice's shape": ("best/state.json", shape_of),
    "an STT's points": (POINTS, lambda run: read_points([run])),
    "aligned words": (WORDS, _words),
    "pronunciations": ("said.json", lambda run: pronunciations(["one"], language_of(DEFAULT), run / "said.json")),
    "a voice's corpus": ("corpus.json", load),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_file_is_one_line_that_names_it(reader: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "state.json").write_text("{}")
    (tmp_path / "request.json").write_text("{}")
    (tmp_path / name).write_text('{"torn": ')

    with pytest.raises(ParleyError, match="not JSON") as caught:
        read(tmp_path)
    assert caught.value.where == str(tmp_path / name)


def test_a_corpus_of_a_voice_that_lacks_a_part_is_made_again(tmp_path: Path) -> None:
    for name in ("request.json", "corpus.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "audio.npz").write_bytes(b"PK")

    with pytest.raises(ParleyError, match="the corpus is damaged") as caught:
        load(tmp_path)
    assert "models.tts.data" in caught.value.mend


def test_a_run_keeps_infinity(tmp_path: Path) -> None:
    Run(tmp_path, {}).figures(threshold=float("inf"))
    assert Run(tmp_path, {}).figures() == {"threshold": float("inf")}


@pytest.mark.parametrize("sizes", ["[]", "{", '{"vocab_size": 1}'])
def test_what_is_no_sentence_encoder_is_refused(sizes: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(sizes)
    with pytest.raises(ParleyError, match="not a sentence encoder"):
        read_sentence_encoder(tmp_path)
