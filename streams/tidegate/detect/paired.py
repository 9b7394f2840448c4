"""What is known of two sides of a flag before anybody has seen them: the service's own past, the same for both, and how alike
they must be.

Both sides are on the same servers in the same seconds. What a server, its zone, its hour and its version are like is the same
there, so of the spreads between servers none is left; and nothing restarts. What is left is that other people are asked about,
and that some of them ask much.

| knob | value | why |
|---|---|---|
| ``OWN`` | 0.05, a deviation of a log | what remains of a server where few people have one of the sides |
| ``COMMON`` | 0.1 | two halves of the same people may differ so in what they ask for |
"""

import numpy as np
from msgspec.structs import replace

from tidegate.detect.drift.learned import Learned, Spread
from tidegate.detect.drift.metrics import COUNT, METRICS
from tidegate.detect.drift.past import Past
from tidegate.detect.drift.state import Drift
from tidegate.detect.state import SubjectJudgement
from tidegate.kpi.flags import SERVERS_MAX, as_control

OWN, COMMON = 0.05, 0.1
_OTHERS = "others="
"""The row of all servers beyond ``SERVERS_MAX``: they make the service's level, and are compared in lots."""
_SURE = 1e12
"""As if so many minutes had been seen: a server that wanders takes both sides along."""


def begin(own: SubjectJudgement) -> SubjectJudgement:
    """Return what is known of a flag on a service when its ramp begins; ``own``: what is known of the service."""
    return SubjectJudgement(
        baseline=replace(own.baseline, version="", rollout="", total=None),
        drift=Drift(past=_both(own.drift.past), learned=_alike(own.drift.learned)),
    )


def _both(past: Past) -> Past:
    """Return a past in which every server stands twice, once for each side."""
    names = past.nodes[:SERVERS_MAX]
    rows = past.sums[: len(names)]
    others = 2.0 * past.sums[len(names) :].sum(axis=0, keepdims=True)
    nodes = (*names, *map(as_control, names), _OTHERS)
    sure = np.stack((np.zeros(COUNT), np.full(COUNT, _SURE)))
    return Past(
        nodes=nodes if past.nodes else (),
        strata=(*names, *names, "") if past.nodes else (),
        edges=past.edges,
        sums=np.concatenate((rows, rows, others)) if past.nodes else past.sums,
        bunched=past.bunched,
        wandered=sure,
    )


def _alike(learned: Learned) -> Learned:
    """Return what is known of spreads, with those alone that two sides of one server can have."""
    spreads = {name: Spread(host=learned.spread(name).host, node=OWN, common=COMMON, restart=0.0, warm=0.0) for name in METRICS}
    return Learned(spreads=spreads, cold_s=0.0)
