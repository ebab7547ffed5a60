"""The corpus of a voice: alignment, pitch, a folder in LJSpeech's shape, and a machine without flite."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from toy_language import GREEK

from models.tts.alignment import HOP, Segment, align_words, flite_speech, symbols_of, warp
from models.tts.data import Corpus, _heard_lexicon, _recorded, build, load, read_ljspeech
from models.tts.pitch import pitch_contour
from models.tts.script import read_texts
from models.tts.text import Lexicon
from parley.bot import load_bot
from parley.errors import ParleyError
from parley.language.english import ENGLISH
from parley.language.english.tokenise import tokenise

needs_flite = pytest.mark.skipif(
    not shutil.which("flite"), reason="flite is not installed (`parley doctor` says so; apt-get install flite)"
)


def segments(text: str) -> list[Segment]:
    return [Segment(phone, 0.1 * n) for n, phone in enumerate(text.split(), 1)]


def test_reduced_phones_still_find_their_words() -> None:
    lexicon = Lexicon({"the": ["dh", "iy"], "cat": ["k", "ae", "t"], "is": ["ih", "z"]}, asks=False)
    tokens = tokenise("The cat, is?")
    heard = segments("pau dh ax k ae t pau z pau")
    owners = align_words(heard, tokens, lexicon)
    assert [word for word, _ in owners] == [-1, 0, 0, 1, 1, 1, -1, 2, -1]
    assert symbols_of(heard, owners, tokens) == ["^", "dh_B", "ax_E", "k_B", "ae_I", "t_E", ",", "z_S", "?"]


def test_known_mistakes_of_flite_are_corrected_in_the_lexicon() -> None:
    lexicon = _heard_lexicon(Lexicon({"latte": ["l", "ae", "t"], "tea": ["t", "iy"]}), [])
    assert lexicon.words["latte"] == ["l", "aa", "t", "ey"]
    assert lexicon.words["tea"] == ["t", "iy"]


def test_two_sentences_have_two_beginnings() -> None:
    lexicon = Lexicon({"no": ["n", "ow"]}, asks=False)
    tokens = tokenise("No. No?")
    heard = segments("pau n ow pau pau n ow pau")
    symbols = symbols_of(heard, align_words(heard, tokens, lexicon), tokens)
    assert symbols == ["^", "n_B", "ow_E", ".", "^", "n_B", "ow_E", "?"]


@pytest.mark.parametrize("hz", [95.0, 140.0, 210.0, 300.0])
def test_pitch_of_a_buzz_is_found(hz: float) -> None:
    t = np.arange(8000) / 8000
    buzz = sum(np.cos(2 * np.pi * k * hz * t) / k for k in range(1, int(3500 / hz)))
    pcm = np.concatenate([np.zeros(2400), 6000 * buzz, np.zeros(2400)]).astype(np.int16)
    contour, voiced = pitch_contour(pcm, HOP)
    assert len(contour) == len(pcm) // HOP
    assert voiced[40:120].min() == 1 and voiced[:20].max() == 0
    assert np.abs(contour[40:120] / hz - 1).max() < 0.02


def test_borders_follow_a_slower_recording() -> None:
    rng = np.random.default_rng(3)
    t = np.arange(1600) / 8000
    sounds = [rng.normal(0, 0.1, 1600), np.sin(2 * np.pi * 300 * t), np.sin(2 * np.pi * 1500 * t)]
    quick = np.concatenate(sounds).astype(np.float32)
    slow = np.concatenate([np.tile(s, 2) for s in sounds]).astype(np.float32)
    carried = warp([Segment("s", 0.2), Segment("uw", 0.4), Segment("iy", 0.6)], quick, slow)
    assert [s.end_s for s in carried] == pytest.approx([0.4, 0.8, 1.2], abs=0.04)


@needs_flite
def test_a_folder_like_ljspeech_becomes_a_corpus(tmp_path) -> None:
    import subprocess

    bot = load_bot("barista")
    folder = tmp_path / "mine"
    (folder / "wavs").mkdir(parents=True)
    texts = ["Hello, a large latte please.", "That is $4.50."]
    for n, said in enumerate(["Hello, a large latte please.", "That is four dollars and fifty cents."]):
        command = ["flite", "-voice", "rms", "-t", said, "-o", str(folder / "wavs" / f"u{n}.wav")]
        subprocess.run(command, check=True)
    (folder / "metadata.csv").write_text(f"u0|{texts[0]}|{texts[0]}\nu1|{texts[1]}\n")
    corpus = build(bot, tmp_path / "corpus", recordings=folder, licence="mine")
    assert corpus.language == "en-US" and corpus.lexicon.language is ENGLISH
    assert [u.id for u in corpus.utterances] == ["u0", "u1"]
    for utterance in corpus.utterances:
        assert len(utterance.pcm) == sum(utterance.durations) * HOP
        assert min(utterance.durations) >= 1
        assert len(utterance.ids) == len(utterance.word_of) == len(utterance.durations)
        ends = utterance.word_ends_s()
        assert ends == sorted(ends) and len(ends) == utterance.n_words == len(tokenise(utterance.text))
    # The borders really are the recording's: rms pauses after "Hello" where the audio is silent.
    first = corpus.utterances[0]
    comma = list(first.word_of).index(-1, 1)
    start = sum(first.durations[:comma]) * HOP
    pause = first.pcm[start : start + first.durations[comma] * HOP].astype(float)
    assert pause.std() < 0.3 * first.pcm.astype(float).std()
    assert load(tmp_path / "corpus").digest == corpus.digest
    assert build(bot, tmp_path / "again", recordings=folder, licence="mine").digest == corpus.digest
    assert corpus.licence == "mine"


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "no metadata.csv"),
        ("", "empty"),
        ("only-an-id\n", r"metadata\.csv:1: expected id\|text"),
        ("a|hello|hello\n", r"metadata\.csv:1: no recording a\.wav"),
    ],
)
def test_a_bad_folder_is_refused_with_its_line(metadata: str | None, message: str, tmp_path) -> None:
    if metadata is not None:
        (tmp_path / "metadata.csv").write_text(metadata)
    with pytest.raises(ParleyError, match=message):
        read_ljspeech(tmp_path)


def test_other_texts_become_sentences(tmp_path) -> None:
    plain = tmp_path / "texts.txt"
    plain.write_text("where is my new card\nToo short.\nmy card has not come yet\nIs it lost or stolen?\n")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "can you block my card"}\n')
    assert read_texts(plain, ENGLISH) == ["Where is my new card?", "My card has not come yet.", "Is it lost or stolen?"]
    assert read_texts(rows, ENGLISH) == ["Can you block my card?"]
    rows.write_text('{"words": 1}\n')
    with pytest.raises(ParleyError, match="rows.jsonl:1: text: expected a sentence"):
        read_texts(rows, ENGLISH)


def test_sentences_with_the_signs_of_any_script_are_read(tmp_path) -> None:
    greek, english = tmp_path / "greek.txt", tmp_path / "english.txt"
    greek.write_text(
        "Μου είπε «θέλω καφέ τώρα»\n«Ο καφές μου ήρθε τώρα.»\nΟ καφές – ένας – κάνει 3 €.\nθέλω έναν hot latte\n"
    )
    english.write_text("She said “where is my card?”\nIt is – I hope – there.\nthe café has my card\n")

    assert read_texts(greek, GREEK) == [
        "Μου είπε «θέλω καφέ τώρα».", "«Ο καφές μου ήρθε τώρα.»", "Ο καφές – ένας – κάνει 3 €.",
    ]  # fmt: skip
    assert read_texts(english, ENGLISH) == ["She said “where is my card?”", "It is – I hope – there."]


@needs_flite
def test_words_of_other_texts_are_in_the_lexicon_and_some_are_spoken(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.tts.data.sentences", lambda *_: ["Hello there, what would you like?"])
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"my {word} has not come yet" for word in ("ferry", "harbour", "latte")))
    corpus = build(load_bot("barista"), tmp_path / "corpus", count=1, texts=[texts], of_texts=1)
    assert {"ferry", "harbour"} <= set(corpus.lexicon.words)
    assert sum("has not come yet" in u.text for u in corpus.utterances) == 1


@needs_flite
def test_a_sentence_keeps_its_name_and_split_when_others_come_or_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [f"That is {n} dollars, please." for n in range(20)]
    monkeypatch.setattr("models.tts.data.sentences", lambda *_: said)
    few = build(load_bot("barista"), tmp_path / "few")
    said[3:5] = ["What would you like?"]
    other = build(load_bot("barista"), tmp_path / "other")

    def kept(corpus: Corpus) -> dict[str, tuple[str, str]]:
        return {u.text: (u.id, u.split) for u in corpus.utterances if "dollars" in u.text}

    assert len(kept(other)) == 18 and kept(other).items() <= kept(few).items()
    assert [u.id for u in other.utterances] == sorted(u.id for u in other.utterances)


@needs_flite
def test_flite_says_latte_as_the_lexicon_does() -> None:
    _, said = flite_speech("A latte.", "slt")
    assert [s.phone for s in said if s.phone != "pau"] == ["ax", "l", "aa", "t", "ey"]


def test_without_flite_the_package_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = load_bot("barista")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ParleyError, match="apt-get install flite"):
        build(bot, tmp_path / "corpus", count=1)


def test_no_corpus_says_how_to_make_one(tmp_path) -> None:
    with pytest.raises(ParleyError, match=r"models\.tts\.data"):
        load(tmp_path)


def test_too_short_a_recording_is_refused(tmp_path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(100), 16000)
    with pytest.raises(ParleyError, match="shorter"):
        _recorded(tmp_path / "x.wav")
