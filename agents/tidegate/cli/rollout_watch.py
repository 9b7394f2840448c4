"""``tidegate rollout watch``: a live picture of one rollout, or of one group."""

import asyncio
import logging
import sys
import time
from collections.abc import Iterable, Sequence

import click
from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tidegate.cli.connect import run
from tidegate.cli.rollout_groups import group_lines, group_story, known_group, status_of
from tidegate.cli.session import POLL_S, Session, session
from tidegate.cli.tell import STYLES, age, broken_glass, clock, line, standing, subject_name, versions, why
from tidegate.cli.words import ServiceType
from tidegate.model import Model, Told, last_rollout, summary
from tidegate.model.panes import Pane, Panes
from tidegate.ports import LogReader
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.groups import is_group
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.names import service_of, service_subject
from tidegate.wire.partition import partition_of
from tidegate.wire.topics import BY_NAME

BARS = "▁▂▃▄▅▆▇█"
BARS_MOST = 24
BARS_LEAST = 4
"""Narrower, and no bars are drawn at all."""
GAP = 2
STALE_MS = 6_000
LINES_MOST = 3
"""Of one decision: the output of a service that failed stands in `explain`, whole."""
WHEN_AND_WHAT = 12 + GAP + 9 + GAP
"""Columns of a decision's time and kind, in front of what it says."""
TIMELINE_LEAST = 3
FRAMES_PER_S = 4
ORDER = {"canary": 0, "control": 1, "rest": 2}
FLOORS = {"rate": 1.0, "error_ratio": 0.05, "p95_ms": 1.0}
"""The least that a bar of full height means: a single error among a thousand requests is no mountain."""
HEADS = ("cohort", "version", "nodes", "req/s", "errors", "p95")
DRAWN = {"req/s": ("rate", "cyan"), "errors": ("error_ratio", "red"), "p95": ("p95_ms", "magenta")}
"""Columns that have bars beside them: the field, and their colour."""
MEASURING = Console()
COLOURS = {Outcome.PASS: "green", Outcome.FAIL: "bold red", Outcome.HOLD: "yellow"}


@click.command()
@click.argument("service", type=ServiceType(groups=True))
@click.pass_obj
def watch(home: Home, service: str) -> None:
    """Watch SERVICE live: cohorts, rate, errors, latency, verdict, decisions; of group/NAME its waves. Ctrl-C ends it.

    Where the output is no terminal, decisions are printed as lines while they fall.
    """
    run(_watch_group(home, service) if is_group(service) else _watch(home, service))


async def _watch_group(home: Home, subject: str) -> None:
    async with session(home) as here:
        known_group(here.model, subject)
        if not sys.stdout.isatty():
            await _print(here, group_story(here.model, subject), {subject, *_members(here.model, subject)})
            return
        logging.disable()  # as below
        with Live(console=Console(), refresh_per_second=FRAMES_PER_S, screen=True) as live:
            await asyncio.gather(here.follow(lambda _: False, None), _draw_group(live, here.model, subject))


def _members(model: Model, subject: str) -> set[str]:
    return {member.subject for member in model.ledger.groups[subject].members}


async def _draw_group(live: Live, model: Model, subject: str) -> None:
    while True:
        live.update(group_picture(model, subject, time.time_ns() // 1_000_000, live.console.size))
        await asyncio.sleep(1 / FRAMES_PER_S)


def group_picture(model: Model, subject: str, now_ms: int, size: ConsoleDimensions) -> RenderableType:
    """Return one frame that fits a terminal: the waves, what they wait for, the newest decisions of group and members."""
    head, *rest = group_lines(status_of(model, subject, now_ms))
    parts: list[RenderableType] = [Text(head, style="bold cyan"), *map(Text, rest), Text()]
    taken = len(Console(width=size.width).render_lines(Group(*parts)))
    return Group(*parts, _timeline(group_story(model, subject), size.width, size.height - taken))


async def _watch(home: Home, service: str) -> None:
    topic = BY_NAME["kpis"]
    panes = Panes(service)
    async with session(home) as here:
        _known(here.model, service)
        if not sys.stdout.isatty():
            subject = service_subject(service)
            await _print(here, last_rollout(here.model, subject), {subject})
            return
        reader = await here.log.reader([topic.name], start="latest", partitions=[partition_of(service, topic.partitions)])
        try:
            # A log line would be written across the picture; what it says about the broker shows as stale figures.
            logging.disable()
            with Live(console=Console(), refresh_per_second=FRAMES_PER_S, screen=True) as live:
                await asyncio.gather(
                    here.follow(lambda _: False, None),
                    _read(reader, panes),
                    _draw(live, here.model, service_subject(service), panes),
                )
        finally:
            await reader.close()


def _known(model: Model, service: str) -> None:
    """Refuse to wait for a service that nobody has heard of: the name is misspelt more often than it is early."""
    rolled = {service_of(subject) or "" for subject in model.ledger.subjects}
    known = sorted((rolled | {name for seen in model.view.reports.values() for name in seen.services}) - {""})
    if service not in known:
        raise Problem(
            f"no node names {service} and nothing of it was rolled out",
            f"known are: {', '.join(known)}" if known else "name it in a node's file and start its agent again",
        )


async def _print(here: Session, before: list[Told], subjects: set[str]) -> None:
    for told in before:
        click.echo(line(told))

    def tell(news: list[Told]) -> bool:
        for told in news:
            if told.decision.subject in subjects:
                click.echo(line(told))
        return False

    await here.follow(tell, None)


async def _read(reader: LogReader, panes: Panes) -> None:
    while True:
        panes.see(await reader.poll(POLL_S))


async def _draw(live: Live, model: Model, subject: str, panes: Panes) -> None:
    while True:
        live.update(picture(model, subject, panes, time.time_ns() // 1_000_000, live.console.size))
        await asyncio.sleep(1 / FRAMES_PER_S)


def picture(model: Model, subject: str, panes: Panes, now_ms: int, size: ConsoleDimensions) -> RenderableType:
    """Return one frame that fits a terminal: headline, cohorts, verdict, what blocks, the newest decisions."""
    one = summary(model, subject, now_ms)
    head = Text.assemble(
        (f"{one.service}  ", "bold"),
        f"{versions(one)}  ",
        (standing(one), "bold cyan"),
        "  ",
        (f"generation {one.generation}", "dim"),
    )
    parts: list[RenderableType] = [head, Text()]
    if one.glass is not None:
        parts += [Text(broken_glass(one.glass), style="bold red"), Text()]
    nodes = {cohort.name: f"{cohort.ready}/{cohort.expected}" for cohort in one.cohorts}
    parts += [_cohorts(panes, nodes, size.width), Text()]
    stale_ms = now_ms - max((cohort[-1].end_ms for cohort in panes.by_cohort.values()), default=now_ms)
    if stale_ms > STALE_MS:
        parts.append(
            Text(f"stale    the last KPI is {age(stale_ms)} old: do the broker, intake and judge run?", style="bold yellow")
        )
    if one.verdict is not None:
        parts.append(_verdict(one.verdict, now_ms))
    parts += [Text(f"waits    {blocker.sentence}", style="dim") for blocker in one.blockers]
    parts += [Text(f"alarm    {alarm}", style="bold red") for alarm in one.alarms]
    parts.append(Text())
    taken = len(Console(width=size.width).render_lines(Group(*parts)))
    return Group(*parts, _timeline(last_rollout(model, subject), size.width, size.height - taken))


def sparkline(values: Sequence[float], top: float) -> str:
    """Return values as bars of eight heights up to ``top``; a value below 0 is a gap.

    >>> sparkline([0, 1, 2, -1], 2)
    '▁▄█ '
    """
    scale = (len(BARS) - 1) / top if top > 0 else 0
    return "".join(" " if value < 0 else BARS[min(len(BARS) - 1, int(value * scale))] for value in values)


def _cohorts(panes: Panes, nodes: dict[str, str], width: int) -> Table:
    if not panes.by_cohort:
        table = Table.grid()
        table.add_row(Text("no KPIs yet: does the service publish telemetry, do intake and judge run?", style="dim"))
        return table
    newest_ms = max(cohort[-1].end_ms for cohort in panes.by_cohort.values())
    # A cohort of a stage that is over has no panes any more: its last figures must not look like news.
    live = [item for item in panes.by_cohort.items() if newest_ms - item[1][-1].end_ms < STALE_MS]
    kept = sorted(live, key=lambda item: (ORDER.get(item[0], len(ORDER)), item[0]))
    tops = {field: max([floor, *(one for _, cohort in kept for one in _last(cohort, field))]) for field, floor in FLOORS.items()}
    rows = [_figures(name, nodes, cohort[-1]) for name, cohort in kept]
    bars = _bars(width, [max(map(len, column)) for column in zip(HEADS, *rows, strict=True)])
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in HEADS:
        table.add_column(head, no_wrap=True)
        if head in DRAWN and bars:
            table.add_column("", no_wrap=True)
    for (name, cohort), row in zip(kept, rows, strict=True):
        cells: list[Text] = [Text(row[0], style="bold cyan" if name == "canary" else "")]
        for head, figure in zip(HEADS[1:], row[1:], strict=True):
            cells.append(Text(figure))
            if head in DRAWN and bars:
                field, colour = DRAWN[head]
                cells.append(Text(sparkline(_last(cohort, field)[-bars:], tops[field]).rjust(bars), style=colour))
        table.add_row(*cells)
    return table


def _figures(name: str, nodes: dict[str, str], last: Pane) -> tuple[str, ...]:
    return (
        name,
        last.version,
        nodes.get(name, str(last.nodes)),
        f"{last.rate:.0f}",
        "-" if last.error_ratio < 0 else f"{last.error_ratio:.2%}",
        "-" if last.p95_ms < 0 else f"{last.p95_ms:.0f} ms",
    )


def _bars(width: int, columns: Sequence[int]) -> int:
    """Return how many bars fit beside the figures, in each of the columns of bars."""
    free = width - sum(columns) - GAP * (len(columns) + len(DRAWN) - 1)
    bars = min(free // len(DRAWN), BARS_MOST)
    return bars if bars >= BARS_LEAST else 0


def _last(cohort: Iterable[Pane], field: str) -> list[float]:
    return [float(getattr(pane, field)) for pane in cohort][-BARS_MOST:]


def _verdict(verdict: Verdict, now_ms: int) -> Text:
    return Text.assemble(
        "verdict  ",
        (str(verdict.outcome), COLOURS[verdict.outcome]),
        f"  {verdict.sentence or verdict.reason}",
        (f"  {age(max(0, now_ms - verdict.last_pane_ms))} ago", "dim"),
    )


def _timeline(story: list[Told], width: int, height: int) -> Table:
    """Return the newest decisions that fit: what happens now must never lie below the edge."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    for _ in range(3):
        table.add_column()
    room = max(height, TIMELINE_LEAST)
    shown: list[tuple[Told, Text]] = []
    several = len({told.decision.subject for told in story}) > 1
    for told in reversed(story):
        whose = f"{subject_name(told.decision.subject)}: " if several else ""
        wrapped = Text(whose + why(told.decision), overflow="fold").wrap(MEASURING, max(width - WHEN_AND_WHAT, 1))
        text = Text("\n").join(wrapped[:LINES_MOST])
        room -= min(len(wrapped), LINES_MOST)
        if room < 0 and shown:
            break
        shown.append((told, text))
    for told, text in reversed(shown):
        kind = told.decision.kind
        table.add_row(Text(clock(told.at_ms), style="dim"), Text(kind, style=STYLES.get(kind, "")), text)
    return table
