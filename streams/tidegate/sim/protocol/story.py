"""Stories: everything that befalls one small fleet, drawn from a seed and written down, to be told again or cut short.

A story names who and how by numbers that the world takes modulo what it has, so that a part of a story is a story. Which faults
occur at all is drawn first, for each story anew: a mixture of everything hides what a few of them together do (swarm testing).
"""

from enum import StrEnum

import numpy as np
from msgspec import Struct


class Deed(StrEnum):
    """What may befall the fleet, or be asked of it."""

    # asked by people
    PLAN = "plan"
    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    UNDO = "undo"
    RETRY = "retry"
    BREAK_GLASS = "break glass"
    ROTATE = "rotate keys"
    # deciders
    KILL_DECIDER = "kill decider"
    STOP_DECIDER = "stop decider"
    CUT_DECIDER = "cut decider"
    RESIGN = "resign"
    SET_DECIDER_CLOCK = "set decider clock"
    # nodes
    KILL_NODE = "kill node"
    STOP_NODE = "stop node"
    CUT_NODE = "cut node"
    SET_NODE_CLOCK = "set node clock"
    FILL_DISK = "fill disk"
    ROT_DISK = "rot disk"
    CRASH_SERVICE = "crash service"
    # the log and the ways to it
    COMPACT = "compact"
    OUTAGE = "outage"
    SWIZZLE = "swizzle"
    # attackers and the judge
    REPLAY = "replay"
    FORGE = "forge"
    STEAL = "steal"
    OLD_VERDICT = "old verdict"


class Act(Struct, frozen=True, array_like=True):
    """One thing that happens ``at_ms`` after the beginning: to ``who``, in the way ``how``, for ``lasts_ms``."""

    at_ms: int
    deed: Deed
    who: int
    how: int
    lasts_ms: int = 0


class Links(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How every way to the broker is. Shares of all sends; ms."""

    lost: float = 0.0
    late: float = 0.0
    unanswered: float = 0.0
    doubled: float = 0.0
    delay_ms: int = 2
    lag_ms: int = 0
    gather_ms: int = 1


class Shape(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the plans of a story are like."""

    first_nodes: int = 1
    bake_s: int = 1
    deadline_s: int = 20
    max_unavailable: str = "100%"
    back_unavailable: str = ""
    control: bool = True
    lasts_s: int = 3_600
    """Until the plan expires."""


class Story(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that a run depends on."""

    seed: int
    """Of the small luck: delays, and which sends are lost."""
    deciders: int = 1
    nodes: int = 3
    links: Links = Links()
    shape: Shape = Shape()
    slack_ms: int = 1_000
    """How late a node's timers may be."""
    start_ms: int = 0
    """How long a version takes to become ready."""
    restart_ms: int = 6_000
    """A process that died is started again at most so late, and half a second."""
    judge_lag_ms: int = 0
    """The judge hears so late who belongs where."""
    acts: tuple[Act, ...] = ()


LONG, SHORT = (12_000, 14), (6_000, 6)
"""Within so many ms happen at most so many acts. What few acts bring about is found sooner in short stories."""
ASKED = (Deed.ABORT, Deed.PAUSE, Deed.RESUME, Deed.PROMOTE, Deed.UNDO, Deed.RETRY, Deed.PLAN)
FAULTS = tuple(deed for deed in Deed if deed not in ASKED)
LONG_MS = 120_000
"""Some things last so long: longer than a node may be silent, and than an advance is valid."""


class _Luck:
    """Numbers in [0, 1) drawn at once: one by one they cost more than what they decide."""

    def __init__(self, rng: np.random.Generator) -> None:
        numbers: list[float] = rng.random(400).tolist()
        self._numbers = iter(numbers)

    def one(self) -> float:
        return next(self._numbers)

    def below(self, most: int) -> int:
        return int(self.one() * most)

    def happens(self, share: float) -> bool:
        return self.one() < share

    def of(self, *choices: int) -> int:
        return choices[self.below(len(choices))]


def draw(seed: int, rng: np.random.Generator) -> Story:
    """Return a story. The same generator state gives the same story."""
    luck = _Luck(rng)
    faults = [deed for deed in FAULTS if luck.happens(0.35)]
    asked = [deed for deed in ASKED if luck.happens(0.35)]
    span_ms, acts_most = SHORT if luck.happens(0.5) else LONG
    acts = [Act(at_ms=luck.below(2_000), deed=Deed.PLAN, who=0, how=luck.below(1 << 16))]
    for _ in range(2 + luck.below(acts_most - 2)):
        kinds = asked if asked and (not faults or luck.happens(0.25)) else faults
        if kinds:
            acts.append(_act(luck, kinds[luck.below(len(kinds))], span_ms))
    return Story(
        seed=seed,
        deciders=luck.of(1, 1, 1, 1, 2, 2, 3),
        nodes=luck.of(2, 2, 3, 3, 3, 4, 5),
        links=_links(luck),
        shape=Shape(
            first_nodes=luck.of(1, 1, 2),
            bake_s=luck.of(1, 1, 3),
            deadline_s=luck.of(6, 6, 12, 60),
            max_unavailable=("1", "50%", "100%", "100%")[luck.below(4)],
            back_unavailable=("", "", "", "1")[luck.below(4)],
            control=luck.happens(0.5),
            lasts_s=luck.of(3_600, 3_600, 3_600, 15),
        ),
        slack_ms=luck.of(500, 2_000, 4_000, 6_000),
        start_ms=luck.of(0, 0, 0, 700, 3_000),
        restart_ms=luck.of(6_000, 6_000, 30_000),
        judge_lag_ms=luck.of(0, 0, 0, 3_000),
        acts=tuple(sorted(acts, key=lambda act: act.at_ms)),
    )


def _act(luck: _Luck, deed: Deed, span_ms: int) -> Act:
    at_ms, who, how = luck.below(span_ms), luck.below(1 << 16), luck.below(1 << 16)
    lasts_ms = LONG_MS if luck.happens(0.08) else 200 + int(luck.one() ** 2 * 14_000)
    return Act(at_ms=at_ms, deed=deed, who=who, how=how, lasts_ms=lasts_ms)


def _links(luck: _Luck) -> Links:
    def share(most: float) -> float:
        return round(luck.one() * most, 3) if luck.happens(0.3) else 0.0

    return Links(
        lost=share(0.1),
        late=share(0.1),
        unanswered=share(0.1),
        doubled=share(0.1),
        delay_ms=luck.of(2, 2, 20, 500),
        lag_ms=luck.of(0, 0, 0, 300, 4_000),
        gather_ms=luck.of(1, 50, 100, 200),
    )
