"""Models of public corpora: reading, judging, decoding, training that resumes, export. No corpus is needed."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from safetensors.torch import load_file  # noqa: E402

from benchmarks.quality.nlu import LocalParser  # noqa: E402
from models.contracts import Understanding  # noqa: E402
from models.implementations import NLU, implementation  # noqa: E402
from models.nlu.augment import ValueSwapper, WordDropper  # noqa: E402
from models.nlu.chain import Chain  # noqa: E402
from models.nlu.client import spans  # noqa: E402
from models.nlu.cooccurrence import word_vectors  # noqa: E402
from models.nlu.corpora import Sentence, read_corpus, split_words  # noqa: E402
from models.nlu.corpus_export import export_corpus  # noqa: E402
from models.nlu.decode import TagDecoder, allowed  # noqa: E402
from models.nlu.fit import FitConfig, answer, fit, open_fit  # noqa: E402
from models.nlu.judge import Answer, area, figures, out_of_scope_figures, span_counts  # noqa: E402
from models.nlu.lexicon import Lexicon  # noqa: E402
from models.nlu.linear import LINEAR, LinearIntents  # noqa: E402
from models.nlu.out_of_scope import choose_thresholds  # noqa: E402
from models.nlu.words import UNKNOWN, WordTable  # noqa: E402
from models.run_directory import lineage_of  # noqa: E402
from parley.bundle import read_manifest  # noqa: E402
from parley.errors import ParleyError  # noqa: E402
from parley.runs import Run  # noqa: E402
from parley.serving.onnx_engine import OnnxEngine  # noqa: E402

TINY = FitConfig(Path("corpus"), epochs=2, batch=8, width=16, grams=64, recurrent=1, convolutions=1, layers=1)


@pytest.fixture(autouse=True)
def _no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "songs"
    folder.mkdir()
    for split, first, n in (("train", 0, 60), ("valid", 60, 16), ("test", 76, 16)):
        rows = [_row(random.Random(i)) for i in range(first, first + n)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def _row(rng: random.Random) -> dict[str, object]:
    name = [rng.choice(["blue", "moon", "rain", "river"]) for _ in range(rng.randint(1, 3))]
    tags = ["B-title", *["I-title"] * (len(name) - 1)]
    if rng.random() < 0.5:
        return {"tokens": ["play", *name], "tags": ["O", *tags], "intent": "play"}
    return {"tokens": ["read", "me", *name, "now"], "tags": ["O", "O", *tags, "O"], "intent": "read"}


# The example of conlleval's own documentation style, and the corner cases on which implementations differ.
@pytest.mark.parametrize(
    ("wanted", "got", "counts"),
    [
        ("O O O B-MISC I-MISC I-MISC O", "O O B-MISC I-MISC I-MISC I-MISC O", (0, 1, 1)),
        ("B-PER I-PER O", "B-PER I-PER O", (1, 1, 1)),
        ("B-a B-a", "B-a I-a", (0, 1, 2)),
        ("B-a I-a", "I-a I-a", (1, 1, 1)),  # an I without its B opens a span
        ("B-a I-b", "B-a B-b", (2, 2, 2)),  # so does an I of another slot
        ("O O", "O B-a", (0, 1, 0)),
    ],
)
def test_spans_are_counted_as_conlleval_counts_them(wanted: str, got: str, counts: tuple[int, int, int]) -> None:
    assert span_counts(wanted.split(), got.split()) == counts


def test_f1_of_the_seqeval_documentation() -> None:
    wanted = ["O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O"]
    got = ["O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O"]
    rows = [Sentence(("w",) * len(w.split()), tuple(w.split()), "x") for w in wanted]
    found = figures(rows, [Answer("x", tuple(g.split())) for g in got])
    assert found["slot_f1"] == 0.5
    assert found["sentence_accuracy"] == 0.5
    assert found["intent_accuracy"] == 1.0


def test_a_sentence_is_right_only_when_intent_and_every_tag_are() -> None:
    row = Sentence(("a", "b"), ("B-x", "O"), "one")
    assert figures([row], [Answer("two", row.tags)])["sentence_accuracy"] == 0.0
    assert figures([row], [Answer("one", ("B-x", "I-x"))])["sentence_accuracy"] == 0.0


def test_area_counts_ties_as_half() -> None:
    assert area(np.array([2.0, 3.0]), np.array([1.0])) == 1.0
    assert area(np.array([1.0]), np.array([1.0])) == 0.5
    assert area(np.array([0.0]), np.array([1.0])) == 0.0


def test_thresholds_trade_accuracy_for_recall() -> None:
    rows = [Sentence(("w",), ("O",), name) for name in ("a", "a", "a", "a", "oos", "oos")]
    scores = [5.0, 4.0, 3.0, 1.0, 2.0, 0.5]
    answers = [Answer("a", ("O",), score) for score in scores]
    points = choose_thresholds(rows, answers)
    found = out_of_scope_figures(rows, points["balanced"].apply(answers))
    assert (found["in_scope_accuracy"], found["out_of_scope_recall"]) == (0.75, 1.0)
    assert choose_thresholds(rows[:4], answers[:4]) == {}


def test_a_corpus_without_validation_gets_one_that_training_lacks(corpus: Path) -> None:
    (corpus / "valid.jsonl").unlink()
    found = read_corpus(corpus)
    assert 0 < len(found.valid) < len(found.train)
    assert not {r.words for r in found.valid} & {r.words for r in found.train}


@pytest.mark.parametrize("line", ["{", '{"text": "a"}', '{"tokens": ["a"], "tags": [], "intent": "x"}', "[]"])
def test_a_damaged_line_is_named(corpus: Path, line: str) -> None:
    (corpus / "test.jsonl").write_text("\n" + line)
    with pytest.raises(ParleyError, match=r"not a row"):
        read_corpus(corpus)


def test_words_are_split_from_marks_and_numbers() -> None:
    assert split_words("What’s $5.20, please?") == ("what's", "$", "5", ".", "20", ",", "please", "?")


def test_a_lexicon_marks_values_that_other_sentences_gave() -> None:
    rows = [Sentence(("to", "new", "york"), ("O", "B-city", "I-city"), "fly")] * 2
    rows += [Sentence(("to", "york"), ("O", "B-city"), "fly"), Sentence(("in", "may"), ("O", "B-month"), "fly")]
    lexicon = Lexicon.learn(rows)
    half, twice = 1 / 2, 2 / 3
    heard = lexicon.marks(("new", "york", "may"))
    assert heard == pytest.approx(np.array([[twice, 0, 0, 0], [half, twice, 0, 0], [0, 0, half, 0]]))
    assert not lexicon.marks(rows[3].words, rows[3].tags).any()
    assert lexicon.marks(rows[0].words, rows[0].tags)[1:] == pytest.approx(
        np.array([[half, 0, 0, 0], [half, half, 0, 0]])
    )


def test_a_damaged_lexicon_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lexicon.json").write_text('{"slots": ["city"], "values": [["month", ["may"], 1]]}')
    with pytest.raises(ParleyError, match="lexicon"):
        Lexicon.read(tmp_path / "lexicon.json")


def test_the_linear_model_separates_what_n_grams_separate() -> None:
    sentences = [("play", "songs"), ("played", "it"), ("read", "books"), ("reading", "it")] * 3
    model = LinearIntents.learn(sentences, [0, 0, 1, 1] * 3, 2, 512)
    said = [model.add(np.zeros(2), words) for words in (("playing", "now"), ("reads", "now"))]
    assert [int(scores.argmax()) for scores in said] == [0, 1]
    sure = model.add(np.array([0.0, 50.0]), ("playing", "now"))
    assert sure.argmax() == 1, "the network has its say too"


def test_a_damaged_linear_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "linear.npz").write_bytes(b"no archive")
    with pytest.raises(ParleyError, match="linear"):
        LinearIntents.read(tmp_path / "linear.npz")


def test_swapped_values_keep_their_slots() -> None:
    rows = [Sentence(("play", w), ("O", "B-title"), "play") for w in "abcdef"]
    swapper = ValueSwapper([*rows, Sentence(("x", "y"), ("B-title", "I-title"), "play")])
    seen = {swapper.swap(rows[0], random.Random(i), 1.0) for i in range(50)}
    assert Sentence(("play", "x", "y"), ("O", "B-title", "I-title"), "play") in seen
    assert all(len(row.words) == len(row.tags) for row in seen)
    assert swapper.swap(rows[0], random.Random(1), 0.0) == rows[0]


def test_rare_words_are_dropped_more_often_and_padding_never() -> None:
    dropper = WordDropper([np.array([2] * 99 + [3])], 4, 1.0, blank=1.0)
    ids = np.tile(np.array([2, 3, 0]), (2000, 1))
    dropped, grams = dropper.drop(ids, np.ones((2000, 3, 2), np.int64), np.random.default_rng(1))
    shares = (dropped == UNKNOWN).mean(0)
    assert shares[0] == pytest.approx(0.01, abs=0.01)
    assert shares[1] == pytest.approx(0.5, abs=0.05)
    assert shares[2] == 0
    assert ((grams == 0).all(-1) == (dropped == UNKNOWN)).all()


def test_viterbi_finds_the_best_path_bio_allows() -> None:
    tags = ["O", "B-a", "I-a", "B-b", "I-b"]
    start, pairs = allowed(tags)
    rng = np.random.default_rng(3)
    pairs += rng.normal(size=pairs.shape).astype(np.float32)
    decoder = TagDecoder(start, pairs)
    for _ in range(20):
        scores = rng.normal(size=(4, 5)).astype(np.float32)
        paths = {}
        for path in itertools.product(range(5), repeat=4):
            steps = sum(pairs[before, after] for before, after in itertools.pairwise(path))
            paths[path] = start[path[0]] + sum(scores[at, tag] for at, tag in enumerate(path)) + steps
        assert tuple(decoder.best(scores)) == max(paths, key=lambda p: paths[p])
    assert decoder.best(np.zeros((0, 5))) == []


def test_the_chain_sums_over_all_paths() -> None:
    torch.manual_seed(1)
    chain = Chain(3)
    torch.nn.init.normal_(chain.pairs)
    torch.nn.init.normal_(chain.start)
    scores, mask = torch.randn(2, 4, 3), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    total = 0.0
    for path in itertools.product(range(3), repeat=4):
        total += float(torch.exp(-chain.loss(scores, torch.tensor([path, path]), mask).detach())[0])
    assert total == pytest.approx(1.0, abs=1e-5)
    short = sum(
        float(torch.exp(-chain.loss(scores[1:], torch.tensor([[*p, 0, 0]]), mask[1:]).detach())[0])
        for p in itertools.product(range(3), repeat=2)
    )
    assert short == pytest.approx(1.0, abs=1e-5)


def test_expectations_are_those_of_all_paths_counted_one_by_one() -> None:
    torch.manual_seed(2)
    chain = Chain(3)
    torch.nn.init.normal_(chain.pairs)
    torch.nn.init.normal_(chain.start)
    scores, mask = torch.randn(1, 3, 3), torch.ones(1, 3, dtype=torch.int64)
    words, starts, pairs = chain.expected(scores, mask)
    counted, follows, entropy = torch.zeros(3, 3), torch.zeros(3, 3), 0.0
    for path in itertools.product(range(3), repeat=3):
        surprise = float(chain.loss(scores, torch.tensor([path]), mask).detach())
        share = np.exp(-surprise)
        entropy += share * surprise
        for at, tag in enumerate(path):
            counted[at, tag] += share
        for before, after in itertools.pairwise(path):
            follows[before, after] += share
    assert torch.allclose(words[0], counted, atol=1e-5)
    assert torch.allclose(starts, counted[0], atol=1e-5)
    assert torch.allclose(pairs, follows, atol=1e-5)
    own = chain.divergence(scores, mask, (words, starts, pairs))  # to itself: the entropy
    assert float(own.detach()) == pytest.approx(entropy, abs=1e-4)


def test_a_taught_run_reads_the_words_of_its_teachers(corpus: Path, tmp_path: Path) -> None:
    fit(replace(TINY, corpus=corpus), tmp_path / "teacher")
    taught = replace(TINY, corpus=corpus, seed=2, teaching=0.5, teachers=(tmp_path / "teacher",))
    run = fit(taught, tmp_path / "taught")
    assert lineage_of(run, "").params["teachers"] == ["teacher"]
    with pytest.raises(ParleyError, match="other words"):
        fit(replace(taught, grams=32), tmp_path / "other")
    fit(replace(TINY, corpus=corpus, seed=3), tmp_path / "teacher")
    with pytest.raises(ParleyError, match="teachers_digest = "):
        fit(taught, tmp_path / "taught", resume=True)


@pytest.mark.parametrize(
    "knobs", [{"consistency": 1.0}, {"sentence_dropout": True}, {"mixup": 0.5}, {"transitions": False}]
)
def test_every_way_of_learning_runs(knobs: dict[str, float], corpus: Path, tmp_path: Path) -> None:
    fit(replace(TINY, corpus=corpus, epochs=1, **knobs), tmp_path / "run")
    assert (tmp_path / "run" / "best" / "model.safetensors").is_file()


def test_padding_changes_no_answer(corpus: Path, tmp_path: Path) -> None:
    fit(replace(TINY, corpus=corpus), tmp_path / "run")
    _, encoder, network = open_fit(tmp_path / "run")
    rows = sorted(read_corpus(corpus).test, key=lambda row: len(row.words))
    with torch.no_grad():
        both = encoder.batch([rows[0], rows[-1]])
        alone = encoder.batch([rows[0]])
        many, one = network(*both.inputs), network(*alone.inputs)
    assert torch.allclose(many[0][:1], one[0], atol=1e-5)
    assert torch.allclose(many[1][:1, : len(rows[0].words)], one[1], atol=1e-5)


def test_a_stopped_fit_continues_to_the_same_weights(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(replace(TINY, corpus=corpus), tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "log", _interrupt)
        fit(replace(TINY, corpus=corpus), tmp_path / "cut")
    assert not (tmp_path / "cut" / "best").exists()
    fit(replace(TINY, corpus=corpus), tmp_path / "cut", resume=True)
    whole, cut = (load_file(tmp_path / name / "best" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    with pytest.raises(ParleyError, match="width = 16, not 8"):
        fit(replace(TINY, corpus=corpus, width=8), tmp_path / "cut", resume=True)


def _interrupt(self: Run, step: int, **figures: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("knobs", [{}, {"lexicon": True, "linear": 256}])
def test_the_clients_answer_as_torch_does(knobs: dict[str, int], corpus: Path, tmp_path: Path) -> None:
    fit(replace(TINY, corpus=corpus, epochs=6, lr=1e-2, **knobs), tmp_path / "run")
    rows = read_corpus(corpus)
    parity = export_corpus(tmp_path / "run", rows.valid)
    assert max(parity["max_abs_error"].values()) < 1e-4
    _, encoder, network = open_fit(tmp_path / "run")
    bundle = tmp_path / "run" / "bundle"
    manifest, local = read_manifest(bundle), LocalParser(bundle)
    assert (manifest.read_by, manifest.model) == ("corpus-chain/1", f"{rows.name}_nlu")

    async def understood() -> list[Understanding]:
        async with OnnxEngine.from_bundle(bundle) as engine:
            client = implementation(NLU, manifest)(bundle, engine, manifest.model, 1)
            return [await client.parse(text) for text in (*(" ".join(row.words) for row in rows.test), " ")]

    *served, nothing = asyncio.run(understood())
    for row, mine, meant in zip(rows.test, answer(network, encoder, rows.test), served, strict=True):
        theirs = local.parse(row.words)
        assert (theirs.intent, theirs.tags) == (mine.intent, mine.tags)
        assert (meant.intent, meant.out_of_scope) == (mine.intent, False)
        assert meant.slots == {slot: " ".join(row.words[start:end]) for slot, start, end in spans(mine.tags)}
    assert nothing.out_of_scope


def test_a_word_never_seen_shares_its_parts() -> None:
    table = WordTable.learn([["singing", "singing", "song"]], 512)
    assert table.ids(["singing", "sings"]).tolist() == [2, UNKNOWN]
    first, other, far = (set(table.grams([word])[0]) for word in ("singing", "singer", "oxcart"))
    assert len(first & other) > len(first & far)


def test_words_in_like_places_get_like_vectors() -> None:
    sentences = [("fly", "to", city, "on", day) for city in ("paris", "rome", "oslo") for day in ("monday", "friday")]
    words = ["fly", "to", "on", "paris", "rome", "oslo", "monday", "friday"]
    vectors = dict(zip(words, word_vectors(sentences, words, 6, window=2), strict=True))

    def alike(one: str, other: str) -> float:
        a, b = vectors[one], vectors[other]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert alike("paris", "rome") > 0.9 > alike("paris", "monday")
    assert (word_vectors(sentences, words, 6) == word_vectors(sentences, words, 6)).all()


def test_other_texts_bring_words_and_no_labels(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for split in ("train", "test"):
        (other / f"{split}.jsonl").write_text('{"text": "sing the moon", "intent": "sing"}\n' * 3)
    with (corpus / "train.jsonl").open("a") as file:
        file.write('\n{"tokens": ["hum"], "tags": ["O"], "intent": "play"}')
    run = fit(replace(TINY, corpus=corpus, epochs=1, texts=(other, corpus)), tmp_path / "run")
    _, encoder, _ = open_fit(run.path)
    assert "sing" in encoder.table.words
    assert "hum" not in encoder.table.words, "a word said once stays unknown where the corpus is among its texts"
    assert "sing" not in encoder.intents

    with (other / "train.jsonl").open("a") as file:
        file.write('{"text": "sing the sun", "intent": "sing"}\n')
    with pytest.raises(ParleyError, match="texts_digest = "):
        fit(replace(TINY, corpus=corpus, epochs=1, texts=(other, corpus)), run.path, resume=True)


def test_a_run_begun_anew_learns_its_own_linear_model(corpus: Path, tmp_path: Path) -> None:
    config = replace(TINY, corpus=corpus, epochs=1, linear=64)
    fit(config, tmp_path / "run")
    fit(replace(config, linear=128), tmp_path / "run")
    fit(replace(config, linear=128), tmp_path / "new")
    assert (tmp_path / "run" / LINEAR).read_bytes() == (tmp_path / "new" / LINEAR).read_bytes()
