"""``tidegate flag ramp``: where a flag's ramp stands, stage by stage, or live until it ends."""

import sys
import time
from collections.abc import Iterator

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from tidegate.cli.connect import run
from tidegate.cli.flag_ask import flag_argument
from tidegate.cli.flag_show import known
from tidegate.cli.flag_tell import gets, lines, standing
from tidegate.cli.output import Format, dump, format_option, table
from tidegate.cli.rollout_start import DurationType
from tidegate.cli.session import Exit, Session, session
from tidegate.cli.tell import line
from tidegate.model import FlagSummary, Told, flag_summary
from tidegate.rollout.ramp import PERCENT, shown
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.documents import Phase
from tidegate.wire.flags import TopicKey
from tidegate.wire.flagstates import FlagState, RampResult

FRAMES_PER_S = 4
LINES_MOST = 8
OUTCOMES = {
    RampResult.NONE: Exit.FAILED,
    RampResult.PROMOTED: Exit.OK,
    RampResult.ABORTED: Exit.ABORTED,
    RampResult.ROLLED_BACK: Exit.ROLLED_BACK,
    RampResult.SWITCHED_OFF: Exit.ROLLED_BACK,
}


@click.command()
@flag_argument
@click.option("--watch", is_flag=True, help="Follow it to its end; the exit code tells which. Ctrl-C ends the watching only.")
@click.option("--timeout", "timeout_ms", type=DurationType(), help="With --watch: give up waiting after this, as in 20m.")
@format_option
@click.pass_obj
def ramp(home: Home, flag: TopicKey, watch: bool, timeout_ms: int | None, form: Format) -> int:
    """Show the ramp of SET/FLAG: its stages, the share, what is left of the bake, what it waits for.

    \b
    Exit codes with --watch: 0 for everyone, 3 switched off or rolled back, 4 not ended in time, 5 aborted.
    """  # noqa: D301 - click's mark for text that keeps its line breaks
    return run(_ramp(home, flag, watch, None if timeout_ms is None else timeout_ms / 1_000, form))


async def _ramp(home: Home, key: TopicKey, watch: bool, within_s: float | None, form: Format) -> int:
    async with session(home) as here:
        state = known(here.model, key)
        if not watch:
            _print(here, state, form)
            return Exit.OK
        if form != "table":
            ended = await here.follow(lambda _: _ended(here, key), within_s)
        elif sys.stdout.isatty():
            ended = await _live(here, key, within_s)
        else:
            _print(here, state, form)
            ended = await here.follow(lambda news: _told(news, key) and _ended(here, key), within_s)
        if not ended:
            remedy = f"see: tidegate flag ramp {key}"
            raise Problem(f"the ramp of {key} has not ended within {within_s:g} s; it goes on", remedy, code=Exit.TIMEOUT)
        if form != "table":
            _print(here, known(here.model, key), form)
        return OUTCOMES[known(here.model, key).result]


def _ended(here: Session, key: TopicKey) -> bool:
    state = known(here.model, key)
    return state.phase is Phase.DONE or state.archived


def _told(news: list[Told], key: TopicKey) -> bool:
    for told in news:
        if told.decision.subject == key.subject:
            click.echo(line(told))
    return True


async def _live(here: Session, key: TopicKey, within_s: float | None) -> bool:
    with Live(console=Console(), refresh_per_second=FRAMES_PER_S) as live:

        def draw(_: list[Told]) -> bool:
            told = [line(one) for one in here.model.decisions(key.subject)[-LINES_MOST:]]
            live.update(Text("\n".join([*_picture(here, known(here.model, key)), "", *told])))
            return _ended(here, key)

        return await here.follow(draw, within_s)


def _print(here: Session, state: FlagState, form: Format) -> None:
    one = _summary(here, state)
    if form == "table":
        click.echo("\n".join(_picture(here, state)))
    else:
        stages = msgspec.to_builtins(state.ramp.stages) if state.ramp is not None else []
        dump({"state": standing(one), "gets": gets(state), **msgspec.to_builtins(one), "ramp": stages}, form)


def _picture(here: Session, state: FlagState) -> list[str]:
    now_ms = time.time_ns() // 1_000_000
    return lines(_summary(here, state), state, now_ms) + [f"  {row}" for row in table(list(_stages(state)))]


def _summary(here: Session, state: FlagState) -> FlagSummary:
    return flag_summary(here.model, state, time.time_ns() // 1_000_000)


def _stages(state: FlagState) -> Iterator[dict[str, object]]:
    """Yield the stages of a ramp as rows, with how far each is."""
    for number, stage in enumerate(state.ramp.stages if state.ramp is not None else ()):
        there = "now" if number == state.stage else "passed" if number < state.stage else ""
        yield {
            "stage": number + 1,
            "share": shown(stage.set_weight * PERCENT),
            "bake": stage.bake,
            "exposures": stage.min_exposures,
            "gate": stage.gate,
            "asks": "" if stage.pause is None else stage.pause.ask or "a person",
            "": there if state.under_way else "",
        }
