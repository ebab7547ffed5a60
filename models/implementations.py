"""The implementations of each family's serving client, by the name that a version's manifest says.

A new one is a class that satisfies its family's contract (`models.contracts`) and a line here. Its exports name it in
their manifests; versions of other implementations stand beside it under the same model, and an experiment may compare
them. A name keeps its meaning for ever: what reads other assets or other tensors gets another number.
"""

from __future__ import annotations

from models.contracts import ClientT, Factory, Implementations, NlgClient, NluClient, SttClient, TtsClient
from models.nlg import client as nlg
from models.nlg import corpus_client as corpus_nlg
from models.nlu import client as nlu
from models.nlu import corpus_client as corpus_nlu
from models.stt import client as stt
from models.tts import client as tts
from parley.bundle import Manifest
from parley.errors import ParleyError

STT: dict[str, Factory[SttClient]] = {stt.IMPLEMENTATION: stt.PhoneCtcClient}
NLU: dict[str, Factory[NluClient]] = {
    nlu.IMPLEMENTATION: nlu.JointBioClient,
    corpus_nlu.IMPLEMENTATION: corpus_nlu.CorpusClient,
}
NLG: dict[str, Factory[NlgClient]] = {
    nlg.IMPLEMENTATION: nlg.ActPromptClient,
    corpus_nlg.IMPLEMENTATION: corpus_nlg.CorpusClient,
}
TTS: dict[str, Factory[TtsClient]] = {tts.IMPLEMENTATION: tts.HarmonicNoiseClient}


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
