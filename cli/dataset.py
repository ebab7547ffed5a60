"""``parley dataset``: synthetic callers, real recordings and the telephone channel, as one dataset with a digest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from parley.arguments import ArgumentParser
from parley.settings import settings
from parley.typed import count

if TYPE_CHECKING:
    from models.dataset import Row
    from parley.recordings import Recording


def main(argv: list[str]) -> int:
    """Make (or finish) a dataset and print its digest."""
    parser = ArgumentParser(prog="parley dataset", description=__doc__)
    parser.add_argument("--bot", required=True, help="name of a bot, or the path of its bot.yaml")
    parser.add_argument("--out", required=True, type=Path, help="dataset folder")
    parser.add_argument("--recordings", type=Path, help="manifest (JSON lines) of real recordings")
    parser.add_argument("--synthetic", type=count, default=4500, help="synthetic utterances (default 4500)")
    parser.add_argument("--others", type=Path, help="sentences that are not the bot's, one a line, lower case")
    parser.add_argument("--foreign", type=count, default=0, help="synthetic utterances more, by voices with an accent")
    parser.add_argument("--alone", action="store_true", help="also the words of digits one by one, for strings of them")
    parser.add_argument("--seed", type=count, default=7)
    parser.add_argument("--licence", default="", help="licence of the recordings; it ends up in the model's manifest")
    parser.add_argument("--jobs", type=count, default=2, help="synthesisers at once")
    args = parser.parse_args(argv)

    from models.caller_plans import read_sentences
    from models.dataset_making import make_dataset
    from models.splits import SPLITS
    from parley.bot import load_bot
    from parley.recordings import read_recordings

    bot = load_bot(args.bot)
    recordings = read_recordings(args.recordings, bot=bot) if args.recordings else []
    dataset = make_dataset(
        bot, args.out, recordings=recordings, synthetic=args.synthetic, seed=args.seed,
        licence=args.licence, jobs=args.jobs, others=read_sentences(args.others, bot.speech) if args.others else (),
        alone=args.alone, foreign=args.foreign,
    )  # fmt: skip
    _link_people(recordings, dataset.rows)
    for name in SPLITS:
        rows = dataset.split(name)
        hours = sum(r.duration_s for r in rows) / 3600
        print(f"{name}: {len(rows)} utterances, {hours:.2f} h, {len({r.speaker for r in rows})} speakers")
    print(f"digest {dataset.digest}")
    return 0


def _link_people(recordings: Sequence[Recording], rows: Sequence[Row]) -> None:
    """Note in the site's database whose they are, where the recordings say so: who is to be forgotten is found."""
    people = {row.subject for row in rows if row.subject}
    if not people:
        return

    from calls.subjects import link_audio
    from parley.files import sha256_file
    from registry.catalogue import Catalogue

    digests = [(recording.subject, sha256_file(recording.path)) for recording in recordings if recording.subject]
    with Catalogue.at(settings()) as catalogue, catalogue.write() as c:
        link_audio(c, "recording", digests)
        link_audio(c, "dataset_row", [(row.subject, row.sha256) for row in rows])
    print(f"{len(people)} people linked to {len(digests)} recordings and their rows (parley lineage --subject)")
