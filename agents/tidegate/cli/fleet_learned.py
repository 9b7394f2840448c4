"""``tidegate fleet learned``: what the judge has learned of a service, number by number, and what is still a prior."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from tidegate.cli.connect import run
from tidegate.cli.group import missing
from tidegate.cli.output import Format, dump, format_option, table
from tidegate.cli.tell import clock
from tidegate.cli.words import ServiceType
from tidegate.runtime.home import Home

if TYPE_CHECKING:
    from tidegate.detect.known import Known, Metric

NUMBERS = ("rate", "dispersion", "wander", "host", "node", "common", "restart", "warm")


class Told(Struct, frozen=True, kw_only=True):
    """The record of a service with where it was read."""

    service: str
    at_ms: int
    """On the judge's clock."""
    partition: int
    offset: int
    known: "Known"


@click.command()
@click.argument("service", type=ServiceType())
@format_option
@click.pass_obj
def learned(home: Home, service: str, form: Format) -> None:
    """Tell what the judge has learned of SERVICE: its quiet time, its restarts, and how far healthy servers differ.

    It is read from the judge's last checkpoint, so it is up to ten seconds old. Numbers in brackets are priors.
    """
    try:
        from tidegate.cli import judge_state  # noqa: PLC0415 - so that what is missing can be named
        from tidegate.detect.known import known_of  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing(error, "tidegate fleet learned") from error
    found = run(judge_state.remembered(home, service))
    known = known_of(found.drift)
    told = Told(service=service, at_ms=found.at_ms, partition=found.partition, offset=found.offset, known=known)
    if form == "table":
        click.echo("\n".join(lines(told)))
    else:
        dump(told, form)


def lines(told: Told) -> Iterator[str]:
    """Yield the record in lines of plain text."""
    known = told.known
    yield f"{told.service} as the judge knew it at {clock(told.at_ms)} (partition {told.partition}, offset {told.offset})"
    if not known.anything:
        yield "nothing is known yet: every number here is a prior"
    if known.rollout:
        yield f"rollout {known.rollout} is under way: nothing is learned meanwhile"
    yield f"  quiet time  {known.minutes} min of {known.nodes} servers"
    yield f"  restarts    {known.restarts} seen, revision {known.revision}"
    yield f"  rollouts    {known.rollouts} healthy{_placebos(known)}"
    yield f"  cold start  {known.cold_s:g} s{'' if known.cold_learned else ' (prior)'}"
    yield ""
    yield from table([_row(one) for one in known.metrics])
    yield "a number in brackets is a prior; host to warm are standard deviations of log rates"
    yield ""
    yield from table(
        [{"age": f"{one.age_s} s", **{name: f"x {times:.3g}" for name, times in one.times.items()}} for one in known.ages]
    )
    yield f"events of a restarted server by its age, times a warm one's{'' if known.cold_learned else ' (priors)'}"


def _placebos(known: "Known") -> str:
    if not known.placebos:
        return ""
    return f" (placebos); largest log e {known.placebos[0]:.2f}, with all nodes {max(known.placebos_pause, default=0.0):.2f}"


def _row(one: "Metric") -> dict[str, object]:
    numbers = {name: _number(getattr(one, name), prior=name in one.priors) for name in NUMBERS}
    return {"metric": one.metric, **numbers, "slower than": "" if one.slower_than_ms is None else f"{one.slower_than_ms:.4g} ms"}


def _number(value: float | None, *, prior: bool) -> str:
    if value is None:
        return "-"
    return f"({value:.3g})" if prior else f"{value:.3g}"
