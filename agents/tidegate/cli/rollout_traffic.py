"""What the log says of a service before a rollout: how many nodes could take part, and what its traffic is like."""

import time

import click
from msgspec import Struct

from tidegate.cli.session import Session, session
from tidegate.rollout.roster import eligible, wave_ends, why_none
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed, decode
from tidegate.wire.names import service_of, service_subject
from tidegate.wire.partition import partition_of
from tidegate.wire.plans import Plan
from tidegate.wire.topics import BY_NAME

WINDOW_S = 10
"""The windows of KPIs that are listened to: ten seconds know an error ratio, and come soon."""
LISTEN_S = 15.0
"""A window of ten seconds is complete every ten seconds, and some two seconds later on the topic."""
POLL_S = 0.5


class Traffic(Struct, frozen=True, kw_only=True):
    """One KPI record, as far as it matters here."""

    service: str
    subject: str
    cohort: str
    window_s: int
    nodes: int
    requests: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Fleet(Struct, frozen=True, kw_only=True):
    """Nodes that could take part now (B1), whether nothing is settled yet (B7), and KPIs of one window, by cohort."""

    nodes: int = 0
    waves: tuple[int, ...] = ()
    """How many of them are in the plan's waves up to each."""
    first: bool = False
    kpis: tuple[Traffic, ...] = ()


async def ask(home: Home, plan: Plan, *, listen: bool) -> Fleet:
    """Return what the log says of a plan's service. Problem where no node could take part, or where no KPI comes though it is
    listened for them.
    """
    async with session(home) as here:
        ledger, view = here.model.ledger, here.model.view
        subject, now_ms = service_subject(plan.service), time.time_ns() // 1_000_000
        settled = ledger.subject(subject).settled
        able = eligible(ledger, view, subject, settled, now_ms)
        nodes = len(able.free) + len(able.held)
        if not nodes:
            raise Problem(why_none(ledger, view, subject, now_ms), "or give --nodes and --rate")
        waves = wave_ends(able.free + able.held, view, plan.waves)
        kpis = await _listen(here, plan.service) if listen else ()
        return Fleet(nodes=nodes, waves=waves, first=settled is None, kpis=kpis)


async def _listen(here: Session, service: str) -> tuple[Traffic, ...]:
    topic = BY_NAME["kpis"]
    click.echo(f"listening to the KPIs of {service}, up to {LISTEN_S:g} s ...", err=True)
    reader = await here.log.reader([topic.name], start="latest", partitions=[partition_of(service, topic.partitions)])
    try:
        until_s = time.monotonic() + LISTEN_S
        while time.monotonic() < until_s:
            found = [read(record.value or b"") for record in await reader.poll(POLL_S)]
            kpis = tuple(one for one in found if one is not None and one.service == service)
            if kpis:
                return kpis
    finally:
        await reader.close()
    raise Problem(
        f"no KPI of {service} came within {LISTEN_S:g} s",
        "does it publish, do intake and judge run? Or give --rate and --errors",
    )


def read(data: bytes) -> Traffic | None:
    """Return a KPI of ten seconds of the old version with requests; None for every other record."""
    try:
        one = decode(data, Traffic)
    except Malformed:
        return None
    old = one.cohort != "canary" and service_of(one.subject) is not None
    return one if old and one.window_s == WINDOW_S and one.requests and one.nodes else None
