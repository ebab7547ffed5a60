"""``parley rollback [--to N]``: let the release answer new calls that did before; calls in progress keep theirs."""

from __future__ import annotations

from cli.alias_change import say
from parley.arguments import ArgumentParser
from parley.settings import settings
from parley.typed import version_number


def main(argv: list[str]) -> int:
    """Let it answer and say what answered before. Nothing is imported or mended that this does not need."""
    parser = ArgumentParser(prog="parley rollback", description=__doc__)
    parser.add_argument("--to", type=version_number, metavar="N", help="a former champion; default: the one before")
    parser.add_argument("--bot", help="may be left out where only one bot answers calls")
    parser.add_argument("--why", default="", help="for the audit")
    args = parser.parse_args(argv)

    from registry.loading import SiteLoader
    from registry.releasing.aliases import bots_with_aliases
    from registry.releasing.promotion import rollback
    from registry.resolve import resolve_bot
    from registry.site import Registry, who

    with Registry.unmended(settings()) as registry:
        with registry.catalogue.read() as c:
            lost = not bots_with_aliases(c)
        if lost:
            from registry.recovery import mend  # what a rollback does not need it does not wait for

            mend(registry)
        bot, loader = resolve_bot(registry, args.bot), SiteLoader(registry)
        say(rollback(registry, bot, args.to, loader=loader, who=who(), why=args.why))
    return 0
