"""``tidegate rollout watch``: a live picture of one rollout."""

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tidegate.cli.connect import run
from tidegate.cli.session import POLL_S, Session, session
from tidegate.cli.tell import STYLES, age, clock, line, standing, versions, why
from tidegate.model import Model, Told, last_rollout, summary
from tidegate.model.panes import Pane, Panes
from tidegate.ports import LogReader
from tidegate.runtime.home import Home
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.names import service_subject
from tidegate.wire.partition import partition_of
from tidegate.wire.topics import BY_NAME

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 24
TIMELINE = 12
FRAMES_PER_S = 4
ORDER = {"canary": 0, "control": 1, "rest": 2}
FLOORS = {"rate": 1.0, "error_ratio": 0.05, "p95_ms": 1.0}
"""The least that a bar of full height means: a single error among a thousand requests is no mountain."""
COLOURS = {Outcome.PASS: "green", Outcome.FAIL: "bold red", Outcome.HOLD: "yellow"}


@click.command()
@click.argument("service")
@click.pass_obj
def watch(home: Home, service: str) -> None:
    """Watch SERVICE live: cohorts, rate, errors, latency, verdict, decisions. Ctrl-C ends it.

    Where the output is no terminal, decisions are printed as lines while they fall.
    """
    run(_watch(home, service))


async def _watch(home: Home, service: str) -> None:
    topic = BY_NAME["kpis"]
    panes = Panes(service)
    async with session(home) as here:
        if not sys.stdout.isatty():
            await _print(here, service_subject(service))
            return
        reader = await here.log.reader([topic.name], start="latest", partitions=[partition_of(service, topic.partitions)])
        try:
            with Live(console=Console(), refresh_per_second=FRAMES_PER_S, screen=True) as live:
                await asyncio.gather(
                    here.follow(lambda _: False, None),
                    _read(reader, panes),
                    _draw(live, here.model, service_subject(service), panes),
                )
        finally:
            await reader.close()


async def _print(here: Session, subject: str) -> None:
    for told in last_rollout(here.model, subject):
        click.echo(line(told))

    def tell(news: list[Told]) -> bool:
        for told in news:
            if told.decision.subject == subject:
                click.echo(line(told))
        return False

    await here.follow(tell, None)


async def _read(reader: LogReader, panes: Panes) -> None:
    while True:
        panes.see(await reader.poll(POLL_S))


async def _draw(live: Live, model: Model, subject: str, panes: Panes) -> None:
    while True:
        live.update(picture(model, subject, panes, time.time_ns() // 1_000_000))
        await asyncio.sleep(1 / FRAMES_PER_S)


def picture(model: Model, subject: str, panes: Panes, now_ms: int) -> RenderableType:
    """Return one frame: headline, cohorts, verdict, what blocks, timeline."""
    one = summary(model, subject, now_ms)
    head = Text.assemble(
        (f"{one.service}  ", "bold"),
        f"{versions(one)}  ",
        (standing(one), "bold cyan"),
        "  ",
        (f"generation {one.generation}", "dim"),
    )
    parts: list[RenderableType] = [head, Text()]
    nodes = {cohort.name: f"{cohort.ready}/{cohort.expected}" for cohort in one.cohorts}
    parts += [_cohorts(panes, nodes), Text()]
    if one.verdict is not None:
        parts.append(_verdict(one.verdict, now_ms))
    parts += [Text(f"waits    {blocker.sentence}", style="dim") for blocker in one.blockers]
    parts += [Text(f"alarm    {alarm}", style="bold red") for alarm in one.alarms]
    parts += [Text(), _timeline(model, subject)]
    return Group(*parts)


def sparkline(values: Sequence[float], top: float) -> str:
    """Return values as bars of eight heights up to ``top``; a value below 0 is a gap.

    >>> sparkline([0, 1, 2, -1], 2)
    '▁▄█ '
    """
    scale = (len(BARS) - 1) / top if top > 0 else 0
    return "".join(" " if value < 0 else BARS[min(len(BARS) - 1, int(value * scale))] for value in values)


def _cohorts(panes: Panes, nodes: dict[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("cohort", "version", "nodes", "requests/s", "", "errors", "", "p95", ""):
        table.add_column(column, no_wrap=True)
    kept = sorted(panes.by_cohort.items(), key=lambda item: (ORDER.get(item[0], len(ORDER)), item[0]))
    tops = {field: max([floor, *(one for _, cohort in kept for one in _last(cohort, field))]) for field, floor in FLOORS.items()}
    for name, cohort in kept:
        last = cohort[-1]
        rate, errors, p95 = (sparkline(_last(cohort, field), top).rjust(WIDTH) for field, top in tops.items())
        table.add_row(
            Text(name, style="bold cyan" if name == "canary" else ""),
            last.version,
            nodes.get(name, str(last.nodes)),
            f"{last.rate:.0f}",
            Text(rate, style="cyan"),
            "-" if last.error_ratio < 0 else f"{last.error_ratio:.2%}",
            Text(errors, style="red"),
            "-" if last.p95_ms < 0 else f"{last.p95_ms:.0f} ms",
            Text(p95, style="magenta"),
        )
    if not kept:
        table.add_row(Text("no KPIs yet: does the service publish telemetry, do intake and judge run?", style="dim"))
    return table


def _last(cohort: Iterable[Pane], field: str) -> list[float]:
    return [float(getattr(pane, field)) for pane in cohort][-WIDTH:]


def _verdict(verdict: Verdict, now_ms: int) -> Text:
    return Text.assemble(
        "verdict  ",
        (str(verdict.outcome), COLOURS[verdict.outcome]),
        f"  {verdict.sentence or verdict.reason}",
        (f"  {age(max(0, now_ms - verdict.last_pane_ms))} ago", "dim"),
    )


def _timeline(model: Model, subject: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column()
    for told in last_rollout(model, subject)[-TIMELINE:]:
        decision = told.decision
        table.add_row(
            Text(clock(told.at_ms), style="dim"), Text(decision.kind, style=STYLES.get(decision.kind, "")), why(decision)
        )
    return table
