"""Fleets for tests of DRIFT, second by second: in clockwork (no chance at all: rules show without luck), or with a generator."""

from collections.abc import Callable, Sequence
from functools import cache, cached_property

import numpy as np
from msgspec import Struct

from tidegate.detect.drift import past as history
from tidegate.detect.drift.counts import update
from tidegate.detect.drift.layout import Counts, Placement
from tidegate.detect.drift.learned import Learned
from tidegate.detect.drift.metrics import COUNT, SLOW
from tidegate.detect.drift.past import Past
from tidegate.detect.drift.seconds import WARM, Kind, Second
from tidegate.detect.drift.weigh import Weighed, weigh
from tidegate.kpi.pane import Table

START_MS = 1_700_000_040_000
"""A whole minute."""
ERRORS, SECONDS, FIRST_SLOW = 0, 1, COUNT - len(SLOW)
LEVEL = (0.001, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001)
"""Of a request: to fail, and to be slower than each quantile."""
REQUESTS = 50
GOLDEN = 0.6180339887498949


class Fleet(Struct, frozen=True, dict=True):
    """Canaries first, then controls, then the rest; node ``i`` stands in zone ``i % zones`` of its cohort."""

    canaries: int = 5
    controls: int = 5
    rest: int = 20
    zones: int = 1
    errors: float = LEVEL[0]
    retries: int = 1
    """Errors come in batches of so many."""
    together: bool = False
    """All canaries stand in the first zone."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.canaries, self.controls, self.rest

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        return tuple(f"{letter}{at:03}" for letter, size in zip("ckr", self.sizes, strict=True) for at in range(size))

    @cached_property
    def strata(self) -> tuple[str, ...]:
        spread = [at % self.zones for size in self.sizes for at in range(size)]
        return tuple("xyzuvw"[0 if self.together and at < self.canaries else zone] for at, zone in enumerate(spread))

    @property
    def kinds(self) -> np.ndarray:
        return np.repeat((Kind.CANARY, Kind.CONTROL, Kind.REST), self.sizes).astype(np.float64)

    def where(self, *kinds: Kind, zone: str = "") -> np.ndarray:
        """Which nodes are of these kinds (all) and in that zone (any)."""
        found = np.isin(self.kinds, kinds or tuple(Kind))
        return found & np.array([not zone or stratum == zone for stratum in self.strata])

    def times(self, factor: float, where: np.ndarray, metrics: Sequence[int] = tuple(range(COUNT))) -> np.ndarray:
        """How many times the usual events nodes have: ``factor`` for some, 1 for the others."""
        found = np.ones((len(self.nodes), COUNT))
        found[np.ix_(where, [*metrics])] = factor
        return found


Times = Callable[[int], np.ndarray | float]
Ages = Callable[[int], np.ndarray | float]


def drawn(fleet: Fleet, at: int, times: np.ndarray | float, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
    """Requests [nodes] and events [nodes, metrics] of second ``at``."""
    number = len(fleet.nodes)
    level = np.array((fleet.errors, 0.0, *LEVEL[1:])) * np.broadcast_to(times, (number, COUNT))
    if rng is None:
        requests = np.full(number, REQUESTS)
        phase = (GOLDEN * np.arange(1, 1 + number * COUNT).reshape(number, COUNT)) % 1.0
        due = np.minimum(level, 1.0) * REQUESTS / np.array((fleet.retries, *(1,) * (COUNT - 1)))
        events = np.floor(due * (at + 1) + phase) - np.floor(due * at + phase)
        events[:, ERRORS] *= fleet.retries
    else:
        requests = rng.poisson(REQUESTS, number)
        events = rng.binomial(requests[:, None], np.minimum(level, 1.0)).astype(float)
        if fleet.retries > 1:
            batches = rng.poisson(requests * level[:, ERRORS] / fleet.retries)
            extra = rng.negative_binomial(np.maximum(batches, 1), 1.0 / fleet.retries)
            events[:, ERRORS] = np.where(batches > 0, batches + extra, 0)
    events[:, SECONDS] = np.minimum(events[:, ERRORS], 1.0)
    return requests, events


def table(fleet: Fleet, at: int, times: np.ndarray | float = 1.0, rng: np.random.Generator | None = None) -> Table:
    """One quiet second."""
    requests, events = drawn(fleet, at, times, rng)
    whole = events.astype(np.int64)
    order = np.argsort(fleet.nodes)
    return Table(
        nodes=tuple(fleet.nodes[place] for place in order),
        requests=requests[order],
        errors=whole[order, ERRORS],
        slow=whole[order, FIRST_SLOW:],
        strata=tuple(fleet.strata[place] for place in order),
    )


def learnt(fleet: Fleet, minutes: int, times: Times = lambda _: 1.0, rng: np.random.Generator | None = None) -> Past:
    """What quiet minutes up to ``START_MS`` teach."""
    found = Past()
    begin_ms = START_MS - 60_000 * minutes
    for at in range(60 * minutes + 1):
        found = history.learn(found, table(fleet, at, times(at), rng), begin_ms + 1_000 * (at + 1), [])
    return found


@cache
def quiet(fleet: Fleet, minutes: int = 12) -> Past:
    return learnt(fleet, minutes)


def second(
    fleet: Fleet,
    at: int,
    *,
    times: np.ndarray | float = 1.0,
    age_s: np.ndarray | float = WARM,
    without: Sequence[str] = (),
    rng: np.random.Generator | None = None,
) -> Second:
    """Second ``at`` of a rollout; ``without`` names who says nothing in it."""
    requests, events = drawn(fleet, at, times, rng)
    ages = np.where(fleet.where(Kind.REST), WARM, np.broadcast_to(age_s, len(fleet.nodes)))
    here = np.array([name not in without for name in fleet.nodes])
    return Second(
        end_ms=START_MS + 1_000 * (at + 1),
        nodes=tuple(name for name in fleet.nodes if name not in without),
        kinds=fleet.kinds[here],
        requests=np.repeat(requests[here, None].astype(np.float64), COUNT, axis=1),
        events=events[here],
        strata=tuple(stratum for stratum, mine in zip(fleet.strata, here.tolist(), strict=True) if mine),
        age_s=ages[here],
    )


def placed(fleet: Fleet, name: str = "p1") -> Placement:
    """A placement of all its controls, whether they report or not."""
    return Placement(name, tuple(node for node in fleet.nodes if node.startswith("k")))


class Played(Struct):
    """Counts at the end, and what was weighed on the way, with the seconds at which it was."""

    counts: Counts
    at: list[int]
    weighed: list[Weighed]

    def log_e(self, family: str = "", *, pause: bool = False) -> np.ndarray:
        """The log e-value of a family, or the largest of all, over time."""
        return np.array(
            [
                max(one.log_e_pause if pause else one.log_e for one in weighed.families if not family or one.family == family)
                for weighed in self.weighed
            ]
        )

    @property
    def rolled_back(self) -> bool:
        return any(family.log_e >= family.threshold for weighed in self.weighed for family in weighed.families)

    @property
    def paused(self) -> bool:
        return any(family.log_e_pause >= family.threshold_pause for weighed in self.weighed for family in weighed.families)


class Play(Struct, frozen=True, kw_only=True):
    """A rollout of a fleet with a past and with what was learned."""

    fleet: Fleet = Fleet()
    seconds: int = 120
    times: Times = lambda _: 1.0
    ages: Ages = lambda _: WARM
    without: Callable[[int], Sequence[str]] = lambda _: ()
    learned: Learned = Learned()
    past: Past | None = None
    every: int = 3
    """So many seconds between two weighings."""
    placement: Callable[[int], str] = lambda _: "p1"
    rng: np.random.Generator | None = None

    def past_or_quiet(self) -> Past:
        return self.past if self.past is not None else quiet(self.fleet)

    def run(self, counts: Counts | None = None, begin: int = 0) -> Played:
        past = self.past_or_quiet()
        played = Played(counts if counts is not None else Counts(), [], [])
        for at in range(begin, begin + self.seconds):
            one = second(self.fleet, at, times=self.times(at), age_s=self.ages(at), without=self.without(at), rng=self.rng)
            played.counts = update(played.counts, past, self.learned, one, placed(self.fleet, self.placement(at)))
            if (at + 1) % self.every == 0 or at + 1 == begin + self.seconds:
                played.at.append(at)
                played.weighed.append(weigh(played.counts, past, self.learned, one.end_ms))
        return played


def during(begin: int, end: int, inside: np.ndarray | float, outside: np.ndarray | float = 1.0) -> Times:
    """Events as ``inside`` in the seconds from ``begin`` to before ``end``."""
    return lambda at: inside if begin <= at < end else outside
