"""``tidegate flag explain``: every decision about a flag, with its reason and its numbers."""

import time

import click
from msgspec.structs import replace

from tidegate.cli.connect import run
from tidegate.cli.flag_ask import FlagType
from tidegate.cli.flag_tell import lines
from tidegate.cli.output import Format, dump, format_option
from tidegate.cli.rollout_explain import row, text
from tidegate.cli.session import session
from tidegate.model import FlagSummary, Told, flag_summary
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.flags import TopicKey
from tidegate.wire.flagstates import FlagState


@click.command()
@click.argument("flag", type=FlagType(beside=True), metavar="SET/FLAG")
@format_option
@click.pass_obj
def explain(home: Home, flag: TopicKey, form: Format) -> None:
    """Tell why SET/FLAG is as it is: each decision about it, who asked for it, its reason and facts, and how it stands now."""
    now_ms = time.time_ns() // 1_000_000
    told, now = run(_read(home, flag, now_ms))
    if form != "table":
        rows = [row(one.at_ms, one.decision) for one in told]
        dump({"flag": str(flag), "decisions": rows, "verdicts": now[0].verdicts if now is not None else ()}, form)
        return
    click.echo("\n".join(text([(one.at_ms, one.decision) for one in told], None)))
    if now is not None:
        click.echo("\n".join(["", *lines(*now, now_ms)]))


async def _read(home: Home, key: TopicKey, now_ms: int) -> tuple[list[Told], tuple[FlagSummary, FlagState] | None]:
    async with session(home) as here:
        told, state = here.model.decisions(key.subject), here.model.ledger.flags.get(key.subject)
        if not told:
            raise Problem(f"nothing that is remembered was decided about {key}", "see: tidegate flag list")
        return [_with_wish(one) for one in told], (flag_summary(here.model, state, now_ms), state) if state is not None else None


def _with_wish(told: Told) -> Told:
    """Return a decision with the reason of who set the flag, where its own sentence says how it comes."""
    decision, flag = told.decision, told.decision.flag
    if flag is None or decision.answers != flag.proposed or flag.why in ("", decision.message):
        return told
    return replace(told, decision=replace(decision, facts={"why": flag.why, **decision.facts}))
