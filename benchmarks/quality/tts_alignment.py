"""Where words really end in a voice's audio: forced alignment by PocketSphinx, with its own acoustic model.

It sees 16 kHz widened from the telephone's 8 (`models.tts.recogniser.widened`) in frames of 10 ms. How good it is
itself is measured beside: on the training voice's audio, whose word ends flite knows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.tts.recogniser import dictionary, widened
from models.tts.text import Lexicon
from parley.audio import TELEPHONE_RATE, Pcm
from parley.errors import ParleyError

_RATE, _FRAMES_PER_S = 16000, 100
_LEAD_S = 0.2


class Aligner:
    """Forced alignment of known texts."""

    def __init__(self, texts: Sequence[str], lexicon: Lexicon) -> None:
        """Make its dictionary.

        Raises:
            ParleyError: PocketSphinx is not installed; names the package.
        """
        try:
            from pocketsphinx import Decoder, get_model_path
        except ImportError:
            raise ParleyError("PocketSphinx is not installed", mend="pip install pocketsphinx") from None
        self._lexicon = lexicon
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "words.dict"
            path.write_text(dictionary(texts, lexicon), encoding="utf-8")
            self._decoder: Any = Decoder(
                hmm=get_model_path("en-us/en-us"), dict=str(path), lm=None, samprate=_RATE, loglevel="FATAL"
            )

    def word_ends_s(self, text: str, pcm: Pcm) -> list[float] | None:
        """When each written word ends in int16 ``[n]`` at 8 kHz, in seconds; None where the audio does not fit."""
        tokens = self._lexicon.tokenise(text)
        quiet = np.zeros(round(_LEAD_S * TELEPHONE_RATE), dtype=np.float32)
        wide = widened(np.concatenate([quiet, pcm.astype(np.float32) / 32768.0, quiet]))
        samples = (np.clip(wide, -1, 1) * 32767).astype(np.int16).tobytes()
        self._decoder.set_align_text(" ".join(word.lower() for token in tokens for word in token.words))
        self._decoder.start_utt()
        self._decoder.process_raw(samples, full_utt=True)
        self._decoder.end_utt()
        spoken = [word for word in self._decoder.seg() or () if not word.word.startswith(("<", "["))]
        counts = [len(token.words) for token in tokens]
        if len(spoken) != sum(counts):
            return None
        last = np.cumsum(counts) - 1
        return [(spoken[n].end_frame + 1) / _FRAMES_PER_S - _LEAD_S for n in last]
