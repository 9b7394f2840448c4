"""Who has which row and which cell of the counts, and how their arrays grow when canaries and strata come.

A cell is a stratum in one of two channels. *Cold*: canaries that restarted lately, beside controls of the same age and stratum;
*warm*: the others, beside every server of the old version of their stratum.
"""

from functools import lru_cache
from typing import TypeVar

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from tidegate.detect.drift import gates as gate
from tidegate.detect.drift.arrays import grown
from tidegate.detect.drift.metrics import COUNT, Floats
from tidegate.detect.drift.onsets import Onset
from tidegate.detect.drift.past import Past
from tidegate.detect.drift.seconds import Kind, Second
from tidegate.detect.drift.warming import Warming

GROUPS_MAX = 20
"""Canaries are looked at one by one up to so many; of more, several of a stratum share a row, so that the state stays small.
Twenty rows are what it takes to leave out two: with fewer, two bad servers of twenty would roll back.
"""
STRATA_MAX = 12
"""Strata beyond this share the last one."""
CHECKS = 4
"""Groups that warm controls are dealt out to."""
ANY = "*"
"""The stratum of cold canaries without a control in their own."""

Singles = NDArray[np.float32]
Rows = TypeVar("Rows", NDArray[np.float32], NDArray[np.float64])


class Group(Struct, frozen=True, array_like=True):
    """One row of canaries: their stratum, that of the controls they are compared with while cold, and who they are."""

    stratum: int
    cold: int
    nodes: tuple[str, ...]


def _zeros(*shape: int) -> Floats:
    return np.zeros(shape)


def _singles(*shape: int) -> Singles:
    return np.zeros(shape, dtype=np.float32)


class Marks(Struct, frozen=True, kw_only=True, eq=False):
    """The arrays of ``Counts`` of the same names as they stood at each onset: float32, one more axis in front."""

    canary: Singles = field(default_factory=lambda: _singles(0, 2, 0, COUNT))
    others: Singles = field(default_factory=lambda: _singles(0, 2, 2, COUNT))
    controls: Singles = field(default_factory=lambda: _singles(0, 2, 1, COUNT))
    cold: Singles = field(default_factory=lambda: _singles(0, 2, COUNT))
    checks: Singles = field(default_factory=lambda: _singles(0, 2, CHECKS, COUNT))


class Placement(Struct, frozen=True):
    """What a second is counted for: the placement's name, and the nodes that are controls in it, whether they report or not."""

    name: str
    controls: tuple[str, ...] = ()


class Counts(Struct, frozen=True, kw_only=True, eq=False):
    """Rows of canaries: cold ones first, then the same again warm. Cells: strata and ``ANY`` cold, then the same again warm.

    ``canary`` [2, 2 groups, metrics], ``others`` [2, 2 cells, metrics]: events, exposures. ``cold`` [2 cells, metrics]: the
    part of the canaries' exposure that is owed to their cold start. ``controls`` [2, cells, metrics]: warm controls, which
    ``others`` leaves out, so that they can be compared with the fleet themselves.
    """

    placement: str = ""
    stage: int = 0
    stage_ms: int = 0
    first_ms: int = 0
    """When the first and when the present stage released their first canaries."""
    licence_ms: int = 0
    """The onset from which a licence is counted: the first one a minute or more after the first release."""
    begun: float = 0.0
    """Prior mass of all onsets so far, given up or not."""
    strata: tuple[str, ...] = (ANY,)
    groups: tuple[Group, ...] = ()
    canary: Floats = field(default_factory=lambda: _zeros(2, 0, COUNT))
    others: Floats = field(default_factory=lambda: _zeros(2, 2, COUNT))
    controls: Floats = field(default_factory=lambda: _zeros(2, 1, COUNT))
    cold: Floats = field(default_factory=lambda: _zeros(2, COUNT))
    checks: Floats = field(default_factory=lambda: _zeros(2, CHECKS, COUNT))
    """Warm controls once more, dealt out to a few groups of which any may be left out."""
    members: Floats = field(default_factory=lambda: _zeros(2))
    """Nodes that each cell was last compared with; ``unsure`` their mean variance of the host factor's log."""
    unsure: Floats = field(default_factory=lambda: _zeros(2, COUNT))
    known: Singles = field(default_factory=lambda: _singles(0, COUNT))
    """The same of each group."""
    onsets: tuple[Onset, ...] = ()
    marks: Marks = field(default_factory=Marks)
    ring: Singles = field(default_factory=lambda: _singles(0, 0, COUNT))
    """While there are fewer than three canaries: flat ``canary`` and ``others`` of each of the last 30 seconds."""
    worst: Singles = field(default_factory=lambda: _singles(0, 0, COUNT))
    """For each onset the half minute that incriminates most, in the same form."""
    gates: gate.Gates = field(default_factory=gate.Gates)
    warming: Warming = field(default_factory=Warming)
    requests: tuple[int, int] = (0, 0)
    """Of canaries and of what they were compared with."""


def placed(counts: Counts, past: Past, second: Second, placement: Placement) -> Counts:
    """Return the counts with room for the strata and canaries of this second."""
    strata = counts.strata
    for name in sorted({*second.strata} - {*strata}):
        if len(strata) < STRATA_MAX:
            strata = (*strata, name)
    if strata != counts.strata:
        counts = _wider(counts, strata)
    inside = {name for group in counts.groups for name in group.nodes}
    fresh = [at for at in np.flatnonzero(second.kinds == Kind.CANARY).tolist() if second.nodes[at] not in inside]
    if not fresh:
        return counts
    groups, controlled = list(counts.groups), _control_strata(past, second, placement)
    for at in fresh:
        own = _stratum(strata, second.strata[at])
        cold = own if second.strata[at] in controlled else 0
        same = [place for place, group in enumerate(groups) if (group.stratum, group.cold) == (own, cold)]
        if len(groups) < GROUPS_MAX or not same:
            groups.append(Group(own, cold, (second.nodes[at],)))
        else:
            place = min(same, key=lambda place: (len(groups[place].nodes), place))
            groups[place] = Group(groups[place].stratum, groups[place].cold, (*groups[place].nodes, second.nodes[at]))
    return _more_groups(counts, tuple(groups))


def _control_strata(past: Past, second: Second, placement: Placement) -> set[str]:
    """Return the strata in which there are controls: of those that do not report yet, where they were before."""
    known = dict(zip(past.nodes, past.strata, strict=True))
    told = {name for name, kind in zip(second.strata, second.kinds.tolist(), strict=True) if kind == Kind.CONTROL}
    return told | {known[name] for name in placement.controls if name in known}


def _stratum(strata: tuple[str, ...], name: str) -> int:
    return strata.index(name) if name in strata else len(strata) - 1


def strata_of(counts: Counts, second: Second) -> gate.Integers:
    """Return the number of each node's stratum."""
    return _numbers(counts.strata, second.strata)


@lru_cache(maxsize=64)
def _numbers(known: tuple[str, ...], strata: tuple[str, ...]) -> gate.Integers:
    at = {name: place for place, name in enumerate(known)}
    return np.array([at.get(name, len(known) - 1) for name in strata], dtype=np.int64)


def cells(counts: Counts) -> Floats:
    """Return which row of canaries is in which cell, float64[2 cells, 2 groups] of 0 and 1."""
    width, size = len(counts.strata), len(counts.groups)
    found = np.zeros((2 * width, 2 * size))
    for place, group in enumerate(counts.groups):
        found[group.cold, place] = 1.0
        found[width + group.stratum, size + place] = 1.0
    return found


def size_of(counts: Counts) -> int:
    """Return how many canaries there have been."""
    return sum(len(group.nodes) for group in counts.groups)


def _halves(rows: Rows, axis: int, size: int) -> Rows:
    """Return an array of which both halves along an axis have grown to ``size``."""
    one, other = np.split(rows, 2, axis=axis)
    return np.concatenate((grown(one, axis, size), grown(other, axis, size)), axis=axis)


def _wider(counts: Counts, strata: tuple[str, ...]) -> Counts:
    size = len(strata)
    marks = replace(
        counts.marks,
        others=_halves(counts.marks.others, 2, size),
        controls=grown(counts.marks.controls, 2, size),
        cold=_halves(counts.marks.cold, 1, size),
    )
    level = counts.gates.strata
    wider = np.concatenate((grown(level[:-1], 0, size), level[-1:]))
    return replace(
        counts,
        strata=strata,
        others=_halves(counts.others, 1, size),
        controls=grown(counts.controls, 1, size),
        cold=_halves(counts.cold, 0, size),
        members=_halves(counts.members, 0, size),
        unsure=_halves(counts.unsure, 0, size),
        marks=marks,
        gates=replace(counts.gates, strata=wider),
        ring=_relaid(counts.ring, counts, (len(counts.groups), size)),
        worst=_relaid(counts.worst, counts, (len(counts.groups), size)),
    )


def _more_groups(counts: Counts, groups: tuple[Group, ...]) -> Counts:
    size = len(groups)
    return replace(
        counts,
        groups=groups,
        canary=_halves(counts.canary, 1, size),
        known=grown(counts.known, 0, size),
        marks=replace(counts.marks, canary=_halves(counts.marks.canary, 2, size)),
        ring=_relaid(counts.ring, counts, (size, len(counts.strata))),
        worst=_relaid(counts.worst, counts, (size, len(counts.strata))),
    )


def _relaid(flat: Singles, counts: Counts, sizes: tuple[int, int]) -> Singles:
    """Return flat rows of canaries and others (``ring``, ``worst``) with room for more of both."""
    if not flat.size:
        return _singles(0, 0, COUNT)
    width = 4 * len(counts.groups)
    mine = _halves(flat[:, :width].reshape(len(flat), 2, -1, COUNT), 2, sizes[0])
    theirs = _halves(flat[:, width:].reshape(len(flat), 2, -1, COUNT), 2, sizes[1])
    return np.concatenate((mine.reshape(len(flat), -1, COUNT), theirs.reshape(len(flat), -1, COUNT)), axis=1)
