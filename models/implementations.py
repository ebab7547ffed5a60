"""The implementations of each family's serving client, by the name that a version's manifest says.

A new one is a class that satisfies its family's contract (`models.contracts`) and a line here. Its exports name it in
their manifests; versions of other implementations stand beside it under the same model, and an experiment may compare
them. A name keeps its meaning for ever: what reads other assets or other tensors gets another number.
"""

from __future__ import annotations

from models.contracts import ClientT, Factory, Implementations, NlgClient, NluClient, SttClient, TtsClient
from models.nlg.client import ActPromptClient
from models.nlg.corpus_client import CorpusClient as CorpusNlgClient
from models.nlu.client import JointBioClient
from models.nlu.corpus_client import CorpusClient as CorpusNluClient
from models.stt.client import PhoneCtcClient
from models.tts.client import HarmonicNoiseClient
from parley.bundle import Manifest
from parley.errors import ParleyError

STT: dict[str, Factory[SttClient]] = {"phone-ctc-grammar/1": PhoneCtcClient}
NLU: dict[str, Factory[NluClient]] = {"joint-bio/1": JointBioClient, "corpus-chain/1": CorpusNluClient}
NLG: dict[str, Factory[NlgClient]] = {"act-prompt/1": ActPromptClient, "corpus-meaning/1": CorpusNlgClient}
TTS: dict[str, Factory[TtsClient]] = {"harmonic-noise/1": HarmonicNoiseClient}


def implementation(known: Implementations[ClientT], manifest: Manifest) -> Factory[ClientT]:
    """What makes the client of a version.

    Args:
        known: its family's implementations.
        manifest: the version's.

    Raises:
        ParleyError: this Parley has no such implementation.
    """
    name = manifest.read_by
    if name not in known:
        raise ParleyError(
            f"is read by {name}, which this Parley does not know (it knows {', '.join(sorted(known))})",
            where=f"{manifest.model} version {manifest.version or 'not published'}",
            mend="upgrade Parley to one that has it, or serve another version",
        )
    return known[name]
