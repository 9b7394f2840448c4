"""Which faults befall which round, drawn from a seed: every kind at least once, those that cost a takeover apart."""

import random
from enum import StrEnum

from msgspec import Struct


class Kind(StrEnum):
    """What may happen to an installation."""

    KILL_LEADER = "kill -9 of the leading decider"
    KILL_STANDBY = "kill -9 of a standby"
    KILL_NODE = "kill -9 of a node agent"
    KILL_MID_APPLY = "kill -9 of a node agent in the middle of a start"
    STOP_LEADER = "the leading decider sleeps for longer than the takeover takes, and wakes"
    STOP_NODE = "a node agent sleeps and wakes"
    DELAY = "a slow way to the broker"
    CUT = "connections cut after some bytes"
    HALF_OPEN = "half-open connections"
    REFUSE = "no way to the broker"
    KILL_BROKER = "kill -9 of the broker, and a restart on the same data"
    FILL_DISK = "the disk of a node's state is full"
    STEP_DECIDER_CLOCK = "the leading decider's wall clock is set wrong"
    STEP_NODE_CLOCK = "a node's wall clock is set wrong"


ON_THE_WAY = (Kind.DELAY, Kind.CUT, Kind.HALF_OPEN, Kind.REFUSE)
TAKES_OVER = (Kind.KILL_LEADER, Kind.STOP_LEADER, Kind.KILL_BROKER)
"""These last longest, so that no two are in one round."""


class Ends(StrEnum):
    """How a round's rollout is meant to end."""

    PROMOTED = "a good version is promoted"
    BAD_FIRST = "a bad version fails in its first stage"
    BAD_LAST = "a bad version fails in its last stage"
    RESUMED = "a rollout is paused, resumed and promoted"
    ABORTED = "a rollout is aborted"


class Fault(Struct, frozen=True):
    """One thing that happens ``after_s`` of the round's plan: to ``who`` (taken modulo what there is), ``how``, ``lasts_s``."""

    kind: Kind
    after_s: float
    who: int
    how: int
    lasts_s: float


class Round(Struct, frozen=True):
    """One rollout, and what happens during it. ``patience_s``: so long after a release it fails, or somebody asks."""

    ends: Ends
    patience_s: float
    faults: tuple[Fault, ...]


STARTS = (Ends.PROMOTED, Ends.RESUMED)
"""Every node starts something in such a round."""


def draw(seed: int, rounds: int, kills: int = 1) -> tuple[Round, ...]:
    """Return so many rounds. Each five have every way to end and every kind of fault, and ``kills`` of them a killed leader."""
    rng = random.Random(seed)
    drawn: list[Round] = []
    while len(drawn) < rounds:
        ends = rng.sample(list(Ends), len(Ends))
        dealt: list[list[Kind]] = [[] for _ in ends]
        heavy = [*[Kind.KILL_LEADER] * kills, Kind.STOP_LEADER, Kind.KILL_BROKER][: len(ends)]
        for number, kind in zip(rng.sample(range(len(ends)), len(heavy)), heavy, strict=True):
            dealt[number].append(kind)
        dealt[ends.index(rng.choice(STARTS))].append(Kind.KILL_MID_APPLY)
        light = [kind for kind in Kind if kind not in (*TAKES_OVER, Kind.KILL_MID_APPLY)]
        for kind in rng.sample(light, len(light)):
            min(dealt, key=lambda kinds: (len(kinds), rng.random())).append(kind)
        drawn += [
            Round(end, rng.uniform(0, 3), tuple(_fault(rng, kind) for kind in kinds))
            for end, kinds in zip(ends, dealt, strict=True)
        ]
    return tuple(drawn[:rounds])


def _fault(rng: random.Random, kind: Kind) -> Fault:
    return Fault(kind, rng.uniform(0.1, 2.5), rng.randrange(1 << 16), rng.randrange(1 << 16), rng.uniform(0.5, 4))
