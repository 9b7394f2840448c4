"""``tidegate alarm``: what fires, and what has fired."""

import time
from collections.abc import Iterable

import click

from tidegate.cli.connect import run
from tidegate.cli.output import Format, format_option, show
from tidegate.cli.session import session
from tidegate.cli.tell import age, clock
from tidegate.cli.words import ServiceType
from tidegate.model import Model
from tidegate.model.alarms import AlarmRow, alarm_rows, board_of
from tidegate.runtime.home import Home
from tidegate.wire.judgement import Alarm, AlarmState, Episode

TOPICS = ("decisions", "alarms")


@click.group()
def alarm() -> None:
    """List alarms that fire, and their history. docs/alarms.md says what each means and what to do."""


@alarm.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Also those that are over.")
@click.option("--service", type=ServiceType(), default="", help="Of this service alone.")
@format_option
@click.pass_obj
def list_(home: Home, everything: bool, service: str, form: Format) -> None:
    """List the alarms that fire, the newest first, and who hides those that nobody is told of."""
    model = run(_read(home))
    now_ms = time.time_ns() // 1_000_000
    rows = alarm_rows(model, now_ms)
    chosen = [one for one in rows if (everything or one.state is AlarmState.FIRING) and service in ("", one.service)]
    show([_row(one, now_ms, form) for one in chosen], form, empty="no alarm fires")


@alarm.command()
@click.option("--service", type=ServiceType(), default="", help="Of this service alone.")
@click.option("--name", default="", help="Of this kind alone.")
@format_option
@click.pass_obj
def history(home: Home, service: str, name: str, form: Format) -> None:
    """List when alarms fired, the newest first: of each, as many of the last times as its record holds."""
    model = run(_read(home))
    chosen = [one for one in board_of(model).alarms.values() if service in ("", one.service) and name in ("", one.name)]
    times = sorted(((episode, one) for one in chosen for episode in episodes(one)), key=lambda at: -at[0].start_ms)
    show([_episode(episode, one, form) for episode, one in times], form, empty="no alarm ever fired")


def episodes(one: Alarm) -> Iterable[Episode]:
    """Return the known times of an alarm, oldest first; one that goes on ends at 0."""
    return (*one.past, Episode(one.start_ms, one.end_ms if one.state is AlarmState.RESOLVED else 0))


async def _read(home: Home) -> Model:
    async with session(home, topics=TOPICS) as here:
        return here.model


def _row(one: AlarmRow, now_ms: int, form: Format) -> dict[str, object]:
    about: dict[str, object] = {
        "name": one.name,
        "service": one.service,
        "severity": str(one.severity),
        "state": str(one.state),
        "times": one.times,
        "hidden_by": one.hidden_by,
        "labels": ", ".join(f"{name}={value}" for name, value in sorted(one.labels.items())) if form == "table" else one.labels,
        "summary": one.summary,
    }
    if form == "table":
        return {"name": one.name, "since": f"{clock(one.start_ms)} ({age(max(0, now_ms - one.start_ms))})"} | about
    return {"key": one.key} | about | {"start_ms": one.start_ms, "end_ms": one.end_ms, "subject": one.subject}


def _episode(episode: Episode, one: Alarm, form: Format) -> dict[str, object]:
    about: dict[str, object] = {"name": one.name, "service": one.service, "severity": str(one.severity)}
    if form != "table":
        return {"key": one.key} | about | {"start_ms": episode.start_ms, "end_ms": episode.end_ms, "labels": one.labels}
    day = time.strftime("%Y-%m-%d", time.localtime(episode.start_ms / 1000))
    lasted = age(episode.end_ms - episode.start_ms) if episode.end_ms else "goes on"
    which = one.id.removeprefix(f"{one.name}/").removeprefix(one.service).strip("/")
    return {"began": f"{day} {clock(episode.start_ms)}", "lasted": lasted} | about | {"which": which}
