"""``parley promote [N]``: let a release answer new calls; calls in progress keep theirs.

Without a number that is the candidate, which `parley gate` makes of a release that it accepts.
"""

from __future__ import annotations

from cli.alias_change import say
from parley.arguments import ArgumentParser
from parley.settings import settings
from parley.typed import version_number


def main(argv: list[str]) -> int:
    """Let it answer and say what answered before."""
    parser = ArgumentParser(prog="parley promote", description=__doc__)
    parser.add_argument("number", type=version_number, nargs="?", metavar="N", help="default: the candidate")
    parser.add_argument("--bot", help="may be left out where only one bot answers calls")
    parser.add_argument("--why", default="", help="for the audit")
    parser.add_argument(
        "--stale-ok", action="store_true", help="although versions never learned what its bot.yaml says; needs --why"
    )
    parser.add_argument("--force", action="store_true", help="although the gate did not accept it; needs --why")
    args = parser.parse_args(argv)

    from registry.loading import SiteLoader
    from registry.releasing.promotion import promote
    from registry.resolve import resolve_bot
    from registry.site import who
    from registry.writing import open_for_writing

    with open_for_writing(settings()) as registry:
        bot = resolve_bot(registry, args.bot)
        made = promote(
            registry, bot, args.number, loader=SiteLoader(registry), who=who(), why=args.why, force=args.force,
            stale_ok=args.stale_ok,
        )  # fmt: skip
        say(made)
    return 0
