"""The benchmark of public corpora, and the pre-trained variant, on corpora and encoders made here."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from safetensors.torch import load_file, save_file  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

from benchmarks.quality import nlu, nlu_train  # noqa: E402
from benchmarks.quality.nlu_errors import span_errors  # noqa: E402
from models.nlu.corpora import read_corpus  # noqa: E402
from models.nlu.fit import FitConfig, answer, fit, open_fit  # noqa: E402
from models.nlu.pretrained import SentenceEncoder, pooled, read_sentence_encoder  # noqa: E402
from models.nlu.pretrained_fit import Recipe, TuneConfig, tune  # noqa: E402
from parley.errors import ParleyError  # noqa: E402

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "where", "is", "my", "card", "money", "lost", "stolen"]
TINY = FitConfig(Path("banking77"), epochs=1, batch=8, width=16, grams=64, recurrent=0)


@pytest.fixture(autouse=True)
def _no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("banking77", "clinc150"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for split, n in (("train", 60), ("valid", 20), ("test", 20)):
            (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(_row(name, i)) for i in range(n)))
    return tmp_path / "data"


def _row(name: str, seed: int) -> dict[str, str]:
    rng = random.Random(seed)
    thing = rng.choice(["card", "money"])
    if name == "clinc150" and seed % 5 == 0:
        return {"text": "is my " + rng.choice(["cat", "dog"]), "intent": "oos"}
    return {"text": f"{rng.choice(['where is', 'lost', 'stolen'])} my {thing}", "intent": thing}


@pytest.fixture
def encoder_folder(tmp_path: Path) -> Path:
    """A random BERT of two layers as transformers writes it, with a tokenizer of eleven words."""
    transformers = pytest.importorskip("transformers", reason="training needs the extra `train`")
    torch.manual_seed(1)
    sizes = transformers.BertConfig(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                    intermediate_size=32, max_position_embeddings=64)  # fmt: skip
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(sizes.to_dict()))
    model = transformers.BertModel(sizes)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    return folder


def test_the_encoder_is_bert(encoder_folder: Path) -> None:
    import transformers

    content = json.loads((encoder_folder / "config.json").read_text())
    config, weights, _ = read_sentence_encoder(encoder_folder)
    mine = SentenceEncoder(config)
    mine.load_state_dict(weights)
    theirs = transformers.BertModel(transformers.BertConfig(**content)).eval()
    theirs.load_state_dict(load_file(encoder_folder / "model.safetensors"))
    ids, mask = torch.tensor([[2, 4, 5, 3], [2, 7, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with torch.no_grad():
        got = mine.eval().blocks_between(mine.embed(ids), mask, 0, 2)
        wanted = theirs(ids, mask).last_hidden_state
    assert torch.allclose(pooled(got, mask), pooled(wanted, mask), atol=1e-5)


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="not a sentence encoder"):
        read_sentence_encoder(tmp_path)


@pytest.mark.parametrize("tuned", [0, 1, 2])
def test_frozen_layers_keep_their_weights(tuned: int, encoder_folder: Path, data: Path, tmp_path: Path) -> None:
    config = TuneConfig(data / "banking77", encoder=encoder_folder, tuned=tuned, epochs=1)
    run = tune(config, tmp_path / "run")
    _, before, _ = read_sentence_encoder(encoder_folder)
    after = load_file(run.path / "best" / "model.safetensors")
    changed = {layer for layer in range(2) if not torch.equal(
        before[f"blocks.{layer}.query.weight"], after[f"encoder.blocks.{layer}.query.weight"])}  # fmt: skip
    assert changed == set(range(2 - tuned, 2))
    assert not list(run.path.glob("frozen*"))


@pytest.mark.parametrize("tuned", [0, 1])
def test_a_stopped_tuning_continues_to_the_same_weights(
    tuned: int, encoder_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TuneConfig(data / "banking77", encoder=encoder_folder, tuned=tuned, epochs=3, batch=16)
    straight = tune(config, tmp_path / "straight")
    original = Recipe.batch

    def dying(recipe: Recipe, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if step == recipe.epochs.steps + 1:
            raise KeyboardInterrupt
        return original(recipe, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Recipe, "batch", dying)
        tune(config, tmp_path / "cut")
    resumed = tune(config, tmp_path / "cut", resume=True)

    mine, theirs = (load_file(run.path / "best" / "model.safetensors") for run in (straight, resumed))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    with pytest.raises(ParleyError, match="batch = 16, not 8"):
        tune(replace(config, batch=8), tmp_path / "cut", resume=True)


def test_a_tuning_resumes_on_its_own_encoder_alone(encoder_folder: Path, data: Path, tmp_path: Path) -> None:
    config = TuneConfig(data / "banking77", encoder=encoder_folder, epochs=1)
    whole = tune(config, tmp_path / "run")
    encoder_folder.rename(tmp_path / "moved")
    tune(replace(config, encoder=tmp_path / "moved"), tmp_path / "run", resume=True)  # the same one, elsewhere

    weights = load_file(tmp_path / "moved" / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    save_file({**weights, name: weights[name] + 1}, tmp_path / "moved" / "model.safetensors")
    with pytest.raises(ParleyError, match="encoder_digest = "):
        tune(replace(config, encoder=tmp_path / "moved"), tmp_path / "run", resume=True)
    assert len(whole.params["encoder_digest"]) == 64


def test_frozen_states_of_another_encoder_are_not_taken(
    encoder_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TuneConfig(data / "banking77", encoder=encoder_folder, epochs=1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Recipe, "batch", _stopped)
        tune(config, tmp_path / "cut")
    weights = load_file(encoder_folder / "model.safetensors")
    save_file({name: value * 2 for name, value in weights.items()}, encoder_folder / "model.safetensors")

    begun_anew, elsewhere = tune(config, tmp_path / "cut"), tune(config, tmp_path / "new")
    mine, other = (load_file(run.path / "best" / "model.safetensors") for run in (begun_anew, elsewhere))
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    assert not list(begun_anew.path.glob("frozen*"))


def _stopped(recipe: Recipe, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    raise KeyboardInterrupt


def test_a_corpus_that_changed_since_the_training_is_not_measured(data: Path, tmp_path: Path) -> None:
    fit(replace(TINY, corpus=data / "banking77"), tmp_path / "runs" / "banking77-1")
    with (data / "banking77" / "test.jsonl").open("a") as file:
        file.write('\n{"text": "where is my card", "intent": "card"}')

    with pytest.raises(ParleyError, match="the training saw"):
        nlu.measure(data, tmp_path / "runs", ["fp32"])


def test_the_report_holds_every_run_and_says_what_is_published(
    data: Path, encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        fit(replace(TINY, corpus=data / "clinc150", seed=seed), tmp_path / "runs" / f"clinc150-{seed}")
    tuned = TuneConfig(data / "banking77", encoder=encoder_folder, epochs=1, linear=256)
    tune(tuned, tmp_path / "runs" / "banking77-1")
    out = tmp_path / "out"
    nlu.main(["--data", str(data), "--runs", str(tmp_path / "runs"), "--out", str(out)])
    report = json.loads((out / "nlu.json").read_text())["corpora"]
    assert report["clinc150"]["summary"]["test"]["out_of_scope_recall"]["runs"] == 2
    assert {"fp32", "fp16", "int8"} <= set(report["banking77"]["runs"][0])
    assert (out / "nlu.png").stat().st_size > 1000
    table = capsys.readouterr().out
    assert (out / "nlu.md").read_text() == table
    assert "SVM (Larson et al. 2019), published | 91.0 | 14.5" in table.replace(" |  |", " |")


def test_runs_of_two_configurations_are_not_averaged(data: Path, tmp_path: Path) -> None:
    for seed, width in ((1, 16), (2, 8)):
        fit(replace(TINY, corpus=data / "clinc150", seed=seed, width=width), tmp_path / f"clinc150-{seed}")
    with pytest.raises(ParleyError, match="more than their seeds"):
        nlu.runs_of(tmp_path, "clinc150")


def test_where_there_are_no_slots_the_graph_answers_intents_alone(data: Path, tmp_path: Path) -> None:
    fit(replace(TINY, corpus=data / "banking77"), tmp_path / "banking77-1")
    corpus = read_corpus(data / "banking77")

    client, parity = nlu.exported(tmp_path / "banking77-1", corpus, "fp32")
    answers, _ = nlu.answer_all(client, corpus.test)

    assert list(parity["max_abs_error"]) == ["intent_logits"]
    _, encoder, network = open_fit(tmp_path / "banking77-1")
    assert [a.intent for a in answers] == [a.intent for a in answer(network, encoder, corpus.test)]


def test_a_folder_without_runs_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="no finished run"):
        nlu.measure(data, tmp_path, ["fp32"])


@pytest.mark.parametrize(
    ("wanted", "got", "kinds"),
    [
        ("B-a I-a O", "B-a I-a O", [("a", "right")]),
        ("B-a I-a O", "B-b I-b O", [("a", "label")]),
        ("B-a I-a O", "B-a O O", [("a", "boundary")]),
        ("B-a I-a O", "O O B-c", [("a", "missed"), ("c", "invented")]),
    ],
)
def test_slot_errors_have_kinds(wanted: str, got: str, kinds: list[tuple[str, str]]) -> None:
    assert span_errors(wanted.split(), got.split()) == kinds


def test_the_recipe_trains_teachers_first_and_leaves_finished_runs_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = nlu_train.Plan({"banking77": TINY}, teachers=(101,), taught=("banking77",))
    nlu_train.train_corpus(data, tmp_path / "runs", "banking77", [101], [1], plan)
    params = json.loads((tmp_path / "runs" / "banking77-1" / "params.json").read_text())
    assert [Path(one).name for one in params["teachers"]] == ["banking77-101"] and params["teaching"] == 0.7
    assert params["texts_digest"] == [params["corpus_digest"]]
    monkeypatch.setattr(nlu_train, "fit", None)
    nlu_train.train_corpus(data, tmp_path / "runs", "banking77", [101], [1], plan)
    nlu_train.train_corpus(data, tmp_path / "runs", "banking77", [101], [], plan)
    assert [p.name for p in nlu.runs_of(tmp_path / "runs", "banking77")] == ["banking77-1"]


def test_intents_alone_are_learnt_without_teachers(data: Path, tmp_path: Path) -> None:
    nlu_train.train_corpus(data, tmp_path, "banking77", [], [1], nlu_train.Plan({"banking77": TINY}))
    params = json.loads((tmp_path / "banking77-1" / "params.json").read_text())
    assert (params["teachers"], params["teaching"]) == ([], 0.0)
    assert not (tmp_path / "teachers").exists()
