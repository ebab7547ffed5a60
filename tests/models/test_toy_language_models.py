"""The models' sides of a language whose letters are not Latin: what is heard, understood, worded and read aloud."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

from toy_language import BOT, GREEK

from models.caller_plans import foreign_plans, read_sentences, utterance_plans
from models.nlg.data import encode as encode_reply
from models.nlg.data import make_data as make_replies
from models.nlg.data import make_tokenizer as make_reply_tokenizer
from models.nlu.client import Labels, encode, fill
from models.nlu.data import OutOfScope, Sizes, make_data, make_tokenizer
from models.pronunciation import pronunciations
from models.stt.client import load_graph, save_graph
from models.stt.decoder import GrammarDecoder
from models.stt.network import SttConfig
from models.tts.client import HarmonicNoiseClient
from models.tts.recogniser import Recogniser, words_of
from models.tts.script import sentences
from models.tts.text import Lexicon
from parley.bot import Bot
from parley.bot.grammar import Grammar
from parley.bot.load import parse_bot
from parley.bundle import Manifest, write_bundle
from parley.errors import ParleyError
from parley.language import language_of, with_language


@pytest.fixture
def bot() -> Iterator[Bot]:
    with with_language(GREEK):
        yield parse_bot(BOT, "bot.yaml")


def test_the_decoder_hears_its_sentences(bot: Bot, tmp_path: Path) -> None:
    labels = list(SttConfig(language=bot.speech.tag).labels)
    lexicon = pronunciations(Grammar(bot).words(), bot.speech)
    save_graph(tmp_path, Grammar(bot).network(), lexicon)
    said = "θέλω μία λεμονάδα στο τραπέζι είκοσι ένα"
    path = [label for word in said.split() for p in lexicon[word][0].split() for label in (labels.index(p), 0)]
    scores = np.full((len(path), len(labels)), -8.0, np.float32)
    scores[np.arange(len(path)), path] = -0.01

    decoder = GrammarDecoder(load_graph(tmp_path, labels))
    decoder.accept(scores)

    assert decoder.finish().text == said and decoder.finish().complete
    assert lexicon["ναι"] == ["n e"], "a form of the language's own list"


def test_sentences_are_read_and_slots_filled_by_its_letters_and_numbers(bot: Bot) -> None:
    data = make_data(bot, 7, Sizes(train=200, valid=40, test=40))
    tokenizer = make_tokenizer(bot, data.train)

    said = encode(tokenizer, "Θέλω ΚΑΦΈ, στο τραπέζι ΕΊΚΟΣΙ ένα!", 64)

    assert said.words == ["θέλω", "καφέ", "στο", "τραπέζι", "είκοσι", "ένα"]
    assert tokenizer.token_to_id("[UNK]") not in said.ids
    assert encode(tokenizer, "τσˈάι 'τσα\u0301ι'", 64).words == ["τσάι", "τσάι"]
    tags = ["O", "B-drink", "O", "O", "B-table", "O"]
    assert fill(said.words, tags, bot.slots, bot.speech) == ({"drink": "καφές", "table": "21"}, True)
    assert GREEK.digits.figures_as_words("τραπέζι 21") == "τραπέζι δύο ένα"


def test_rows_out_of_scope_are_words_of_its_letters(bot: Bot) -> None:
    outside, rng = OutOfScope(bot), random.Random(3)

    said = [outside.sample("train", rng) for _ in range(100)]

    assert all(GREEK.letters.is_phrase(text) for text in said)


def test_replies_come_back_whole_from_their_tokens(bot: Bot) -> None:
    data = make_replies(bot, 7)
    tokenizer = make_reply_tokenizer(bot, data)

    for row in data.rows:
        _, ids = encode_reply(tokenizer, row)
        assert tokenizer.decode(ids[:-1], skip_special_tokens=False) == row.text
    assert {"▁τραπέζι", "Ένα~"} <= tokenizer.get_vocab().keys(), "words are pieces, not letters"


def test_a_voice_reads_its_numbers_with_its_phones(bot: Bot) -> None:
    lexicon = Lexicon({}, language=bot.speech)
    tokens = lexicon.tokenise("Τραπέζι 21, ναι;")

    sequence = lexicon.sequence(tokens)

    assert [token.words for token in tokens] == [("τραπέζι",), ("είκοσι", "ένα"), ("ναι",)]
    symbols = [lexicon.symbols[i] for i in sequence.ids]
    assert symbols[:3] == ["^", "t_B", "r_I"] and symbols[-1] == "?" and sequence.words == ("Τραπέζι", "21", "ναι")
    assert {symbol.partition("_")[0] for symbol in symbols} <= {"^", ",", ".", "?", *GREEK.sounds.spoken}


def test_a_voice_is_trained_on_its_bots_and_its_languages_sentences(bot: Bot) -> None:
    texts = sentences(bot, 60, random.Random(5))

    assert "Καλημέρα σας." in texts and not any(c.isascii() and c.isalpha() for text in texts for c in text)


def test_its_callers_are_voices_of_its_own(bot: Bot, tmp_path: Path) -> None:
    plans = list(utterance_plans(bot, 20, 7))

    assert {plan.voice.speaker.partition("+")[0] for plan in plans} == {"espeak:el"}
    assert list(foreign_plans(bot, 0, 7)) == []
    with pytest.raises(ParleyError, match="no foreign accents"):
        list(foreign_plans(bot, 1, 7))
    file = tmp_path / "others.txt"
    file.write_text("what time is it\nτι ώρα είναι\nΤι ώρα\n", encoding="utf-8")
    assert read_sentences(file, bot.speech) == ["τι ώρα είναι"]


def test_an_english_ear_does_not_judge_its_voice(bot: Bot) -> None:
    with pytest.raises(ParleyError, match="hears English, the voice speaks el"):
        Recogniser(["Τραπέζι 21."], Lexicon({}, language=bot.speech))
    assert words_of("Τραπέζι 21.", bot.speech) == ["τραπέζι", "είκοσι", "ένα"]


class StillVoice:
    """An engine whose voice is silent: two frames a phone."""

    async def infer(self, model: str, version: int, inputs: Mapping[str, NDArray[Any]], **_: Any) -> dict[str, Any]:
        durations = np.where(inputs["phones"] > 0, 2, 0)
        return {"pcm": np.zeros((1, 20 * 80), np.int16), "durations": durations}


def test_a_published_voice_reads_in_the_language_of_its_manifest(bot: Bot, tmp_path: Path) -> None:
    lexicon = Lexicon({}, language=bot.speech)
    lexicon.save(tmp_path / "lexicon.json")
    constants = {"symbols": lexicon.symbols, "language": bot.language, "hop": 80, "piece_frames": 20}
    manifest = Manifest(
        family="tts", bot=bot.name, model="kafeneio_tts", inputs=[], outputs=[], sample_rate=8000, constants=constants
    )
    write_bundle(tmp_path, manifest)

    async def speak() -> list[str]:
        client = HarmonicNoiseClient(tmp_path, StillVoice(), "kafeneio_tts", 1)
        return [word.word async for piece in client.synthesise("Τραπέζι 21, ναι;") for word in piece.words]

    assert asyncio.run(speak()) == ["Τραπέζι", "21", "ναι"]


def test_a_version_that_names_no_language_is_english() -> None:
    labels = Labels(intents=[], tags=[], slots={}, out_of_scope="", threshold=0.5, max_tokens=8)

    assert labels.speech is language_of("en") is Lexicon({}).language is language_of(SttConfig().language)
