"""Slices of rows that name variants of flags, as panes of those flags: every server serves both sides of the comparison (G3).

A flag's context names its variants: ``canary`` the new ones, ``control`` the safe one. An SDK tells of each variant what its
requests came to, in slices ``flag/<set>/<flag>=<variant>``; slices that no context names are not looked at. What is particular:

* *Who is compared.* Servers that have served both sides in this placement, so that what a server, its zone or its version is like
  is on both sides alike. One that has served one side alone would be compared with others. While nobody at all has served the
  control, as where everyone has the new variant, there is none, and all who serve the canary are looked at.
* *Version.* A row counts whatever version its server runs, ``transition`` rows too (A6): a release changes both sides of the
  flag alike, and a pane without the servers that are being changed would be one of other servers.
* *Names.* A server has its own name as one of the canary; as one of the control ``<name>=control``, which none can be called.
* *Bounds.* ``SERVERS_MAX`` servers are looked at one by one; those that come later share ``LOTS`` lots. Nobody's share of a lot
  can be told from that of others in it, so rules that leave out one server leave out its whole lot.

Variants that are not served have no slice; so a second without one says nothing but that.
"""

from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np
from msgspec import Struct

from tidegate.kpi.caps import OTHER, VARIANTS_PER_SERVICE_MAX, Cap, Refusal
from tidegate.kpi.columns import AGENT_CODE, PROBE_CODE
from tidegate.kpi.pane import CohortPane, Crowd, FlagPane, NodePane, ServicePane
from tidegate.kpi.rows import Place, Rows
from tidegate.kpi.sums import Sums
from tidegate.wire.codec import Malformed
from tidegate.wire.nodeseconds import Context
from tidegate.wire.telemetry import HISTOGRAM_OFFSET, HISTOGRAM_SLOTS, Slice

CANARY, CONTROL = 1, 2
"""Sides that a server has served, as bits."""
SIDES = {"canary": CANARY, "control": CONTROL}
SERVERS_MAX = 256
"""Rules that leave out one server, or compare within one, gain nothing from more; as many cost about 40 ms of CPU a second."""
LOTS = 16


class Variant(Struct, frozen=True):
    """One variant of a flag: the side that it is on, and under which name its KPIs are."""

    name: str
    side: str
    shown: str


class Flag(Struct, frozen=True):
    """A flag that is judged on a service, as its context has it. ``variants`` by the name of their slice."""

    subject: str
    placement: str
    variants: Mapping[str, Variant]
    versions: Mapping[str, str]
    """By side."""


def flags_of(contexts: Sequence[Context]) -> tuple[Flag, ...]:
    """Return the flags that are judged on one service; the contexts are all of that service, in the order of their names."""
    found, shown = [], 0
    for context in contexts:
        if not context.of_flag or not context.placement:
            continue
        variants = {}
        for cohort in context.cohorts:
            for name in cohort.variants if cohort.name in SIDES else ():
                shown += 1
                variants[f"{context.subject}={name}"] = Variant(
                    name, cohort.name, name if shown <= VARIANTS_PER_SERVICE_MAX else OTHER
                )
        versions = {cohort.name: cohort.version for cohort in context.cohorts}
        found.append(Flag(context.subject, context.placement, variants, versions))
    return tuple(found)


def as_control(server: str) -> str:
    """Return the name of a server on the side of the control.

    >>> as_control("web-1")
    'web-1=control'
    """
    return f"{server}=control"


class Tally:
    """What some slices add up to; ``counts`` int64[160]."""

    __slots__ = ("counts", "errors", "requests")

    def __init__(self) -> None:
        self.requests = self.errors = 0
        self.counts = np.zeros(HISTOGRAM_SLOTS, dtype=np.int64)

    def take(self, piece: Slice, counts: Sequence[int]) -> None:
        """Add one slice, with its latency counts."""
        self.requests += piece.requests
        self.errors += piece.errors
        if piece.latency is not None:
            first = piece.latency.offset - HISTOGRAM_OFFSET
            self.counts[first : first + len(counts)] += counts

    def add(self, other: "Tally") -> None:
        """Add what others add up to."""
        self.requests += other.requests
        self.errors += other.errors
        self.counts += other.counts


class Served(Struct, frozen=True):
    """What the slices of one second say of one flag: by side and server, and by variant as its KPIs name it."""

    sides: dict[str, dict[str, Tally]]
    variants: dict[str, Tally]
    servers: dict[str, set[str]]
    """Of each variant."""


def sliced(rows: Rows, flags: Mapping[str, Sequence[Flag]]) -> tuple[dict[tuple[str, str], Served], list[Refusal]]:
    """Return by (service, subject) what the rows of one second say of flags, and which variants have no KPIs of their own.

    Counts of the source that counts (A5); a slice that contradicts itself is passed over. The order of rows does not matter.
    """
    found = {
        (service, flag.subject): Served({side: {} for side in SIDES}, {}, {})
        for service, known in flags.items()
        for flag in known
    }
    wanted = {
        service: {name: (flag.subject, variant) for flag in known for name, variant in flag.variants.items()}
        for service, known in flags.items()
    }
    refusals: dict[Refusal, None] = {}
    places: list[Place] = list(rows.places)
    mine = np.array([service in wanted for service, _ in places], dtype=np.bool_)[rows.place]
    for place, extra in rows.extras(rows.first_source(mine & (rows.source != AGENT_CODE) & (rows.source != PROBE_CODE))):
        service, server = places[place]
        for name, piece in extra.slices.items():
            subject, variant = wanted[service].get(name, ("", None))
            counts = _sound(piece) if variant is not None else None
            if variant is None or counts is None:
                continue
            if variant.shown != variant.name:
                refusals[Cap.VARIANTS_PER_SERVICE, service, name] = None
            served = found[service, subject]
            served.sides[variant.side].setdefault(server, Tally()).take(piece, counts)
            served.variants.setdefault(variant.shown, Tally()).take(piece, counts)
            served.servers.setdefault(variant.shown, set()).add(server)
    return found, sorted(refusals)


def _sound(piece: Slice) -> Sequence[int] | None:
    """Return the latency counts of a slice; None where it contradicts itself. Intake lets no such slice pass."""
    try:
        counts = piece.latency.values() if piece.latency is not None else ()
    except Malformed:
        return None
    return counts if piece.errors <= piece.requests else None


def pane_of(flag: Flag, service: str, start_ms: int, told: Served, before: Mapping[str, int]) -> FlagPane:
    """Return the pane of one flag. ``before``: the sides that servers had served in this placement before this second."""
    served, now = dict(before), _lots(told, before)
    for side, tallies in now.items():
        for server, tally in tallies.items():
            if tally.requests:
                served[server] = served.get(server, 0) | SIDES[side]
    compared = any(sides & CONTROL for sides in served.values())
    needed = CANARY | CONTROL if compared else CANARY
    members = sorted(server for server, sides in served.items() if sides & needed == needed)
    there = [server for server in members if any(server in tallies for tallies in now.values())]
    cohorts = {}
    for side in SIDES if compared else ("canary",):
        name = as_control if side == "control" else str
        version = flag.versions.get(side, "")
        nodes = {name(server): _node(name(server), server, version, now[side].get(server)) for server in there}
        cohorts[side] = CohortPane(name=side, version=version, expected=tuple(map(name, members)), nodes=nodes)
    side_of = {variant.shown: variant.side for variant in flag.variants.values()}
    variants = {
        shown: _variant(shown, flag.versions.get(side_of[shown], ""), tally, told.servers[shown])
        for shown, tally in sorted(told.variants.items())
    }
    return FlagPane(
        sides=ServicePane(service=service, start_ms=start_ms, cohorts=cohorts),
        variants=ServicePane(service=service, start_ms=start_ms, cohorts=variants),
        served=served,
    )


def _lots(told: Served, before: Mapping[str, int]) -> dict[str, dict[str, Tally]]:
    """Return what was told by side and server, with lots in place of servers beyond those that are looked at one by one."""
    names = sorted({server for tallies in told.sides.values() for server in tallies})
    if len({*before, *names}) <= SERVERS_MAX:
        return told.sides
    room = SERVERS_MAX - sum(not _is_lot(server) for server in before)
    new = [server for server in names if server not in before]
    alone = {*before, *new[: max(0, room)]}
    found: dict[str, dict[str, Tally]] = {}
    for side, tallies in told.sides.items():
        mine = found.setdefault(side, {})
        for server in sorted(tallies):
            if server in alone:
                mine[server] = tallies[server]
            else:
                mine.setdefault(f"lot {crc32(server.encode()) % LOTS}", Tally()).add(tallies[server])
    return found


def _is_lot(name: str) -> bool:
    return " " in name  # no server has a name with a blank


def _node(name: str, server: str, version: str, tally: Tally | None) -> NodePane:
    """Return one server on one side. Its stratum is itself: DRIFT compares within a server."""
    tally = tally or Tally()
    return NodePane(
        node=name,
        version=version,
        requests=tally.requests,
        errors=tally.errors,
        counts=tally.counts,
        telemetry=True,
        zone=server,
    )


def _variant(name: str, version: str, tally: Tally, servers: set[str]) -> CohortPane:
    counts = tally.counts.tolist() if tally.counts.any() else []
    crowd = Crowd(frozenset(servers), Sums(1, tally.requests, tally.errors, counts), version)
    return CohortPane(name=name, version=version, expected=tuple(sorted(servers)), crowd=crowd)
