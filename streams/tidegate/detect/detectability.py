"""What a stage can see before it begins: the smallest fault that its nodes, traffic and time can catch, and how soon.

The evidence of ``drift`` is worked out at the counts that are to be expected, so this is about the median rollout: half of them
catch such a fault sooner. No hypothesis is tested here and nothing is promised; null, guarantee and paper stand in
``drift.evalue``. That there is a smallest fault at all follows from them: one cohort can never say more than about
``log(ratio) ** 2 / (2 v)`` nats however long it is looked at, so ratios below about ``exp(4 sqrt v)`` stay unseen.

The fault is taken to begin with the stage and on every canary. Not in here: strata, declared guardrails, bursts and incidents,
and the two seconds that telemetry and the closing of a second take. More nodes, more traffic and more time never see less.
"""

import math
from collections.abc import Callable

import numpy as np
from msgspec import Struct

from tidegate.detect.drift.half_minute import FEW
from tidegate.detect.drift.learned import FEW_CONTROLS
from tidegate.detect.expected import (
    BASE_LEAST,
    TIMES_S,
    Fault,
    Nodes,
    Service,
    errors_of,
    evidence,
    gross_s,
    latency_of,
    threshold,
)

SEEN = (0.01, 0.05, 0.20)
"""Error ratios of which the time is told: what a service notices, what its users notice, and what is gross."""
SHIFT_LEAST, SHIFT_MOST = 0.01, 9.0
"""Latency shifts that are looked for: 1 % is nothing, and a service ten times as slow fails by its errors."""
STEPS = 12
"""Halvings in the search for the smallest fault: finer than any figure that is shown."""
LITTLE = 0.2
"""An error ratio above which seeing is no seeing: the gross trip needs no evidence."""


class Sight(Struct, frozen=True, kw_only=True):
    """What a stage sees within its bake. None: nothing of that kind."""

    error_ratio: float | None
    """Smallest error ratio of the canary that is caught."""
    latency_shift: float | None
    """Smallest share by which all the canary's requests must be slower: 0.5 is half again."""
    seconds: tuple[float | None, ...]
    """Until errors of ``SEEN`` are caught; None: not within the bake."""
    warnings: tuple[str, ...] = ()


def sight(nodes: Nodes, service: Service, bake_s: float) -> Sight:
    """Return what can be caught in the first ``bake_s`` seconds of a stage.

    >>> found = sight(Nodes(canaries=5, controls=5, others=25), Service(rate=50.0), 300.0)
    >>> 0.001 < found.error_ratio < 0.004, found.seconds[1] < 20
    (True, True)
    """

    def within(fault: Fault) -> bool:
        second = seconds_to_see(nodes, service, fault)
        return second is not None and second <= bake_s

    base = max(service.error_ratio, BASE_LEAST)
    error_ratio = _smallest(lambda size: within(errors_of(service, size)), base, 1.0)
    shift = _smallest(lambda size: within(latency_of(service, size)), SHIFT_LEAST, SHIFT_MOST)
    told = [seconds_to_see(nodes, service, errors_of(service, size)) if size > base else None for size in SEEN]
    return Sight(
        error_ratio=error_ratio,
        latency_shift=shift,
        seconds=tuple(second if second is not None and second <= bake_s else None for second in told),
        warnings=tuple(_warnings(nodes, service, bake_s, error_ratio)),
    )


def seconds_to_see(nodes: Nodes, service: Service, fault: Fault) -> float | None:
    """Return after how many seconds a fault is caught that is there from the begin of a stage; None: never."""
    if not nodes.canaries or service.rate <= 0:
        return None
    crossed = (evidence(nodes, service, fault) >= threshold(service)).any(axis=1)
    found = [float(TIMES_S[int(np.argmax(crossed))])] if crossed.any() else []
    gross = gross_s(nodes, service, fault)
    return min([*found, *([] if gross is None else [gross])], default=None)


def _smallest(caught: Callable[[float], bool], least: float, most: float) -> float | None:
    if not caught(most):
        return None
    for _ in range(STEPS):
        middle = math.sqrt(least * most)
        least, most = (least, middle) if caught(middle) else (middle, most)
    return most


def _warnings(nodes: Nodes, service: Service, bake_s: float, error_ratio: float | None) -> list[str]:
    """Return what a person should know, in plain sentences, each with its remedy."""
    found = []
    cold_s = 0.0 if service.learned.curve else service.learned.cold_s
    if not nodes.others:
        found.append("no node of the old version is left to compare with: only gross errors against the baseline are seen")
    elif not nodes.controls and bake_s <= cold_s:
        found.append(f"no control restarts with it, so its cold start hides everything for {cold_s:g} s: bake longer than that")
    elif not nodes.controls:
        found.append("no control restarts with it: what begins with the restart is seen late")
    elif nodes.controls < FEW_CONTROLS:
        found.append(f"fewer than {FEW_CONTROLS} controls say little: take {FEW_CONTROLS} nodes, of {4 * FEW_CONTROLS} or more")
    if nodes.canaries < FEW and nodes.others:
        found.append(f"fewer than {FEW} canaries: an incident of one host looks the same for half a minute; begin with {FEW}")
    blind = error_ratio is None or error_ratio > LITTLE
    if blind and nodes.others and (nodes.controls or bake_s > cold_s):
        requests = nodes.canaries * service.rate * bake_s
        found.append(f"too little to judge by, {requests:.0f} requests in {bake_s:g} s of bake: bake longer or with more nodes")
    return found
