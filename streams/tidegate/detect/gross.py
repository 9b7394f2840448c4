"""The gross trip (C1): a fifth of the canary's requests fail at once, and the others' do not.

C1 says: one pane, at least 10 errors, at least 20 %, the control below a quarter of it. By that letter a healthy lone canary is
rolled back by a single bunch of retries. So here it is the last pane, or the last two, three, four or five together, and:

* Bunches count for what they are. Null hypothesis: a quarter of a fifth of the canary's requests fail, in bunches as large as
  this service's are; guarantee and paper stand at ``bunched_nats``. Where the requests of a pane are few, it takes another one.
* A canary of one or two needs a second pane: without its worst one, what is left is gross too. A hiccup of one second, in which
  all requests under way fail together, is no release. Of three and more, no single node carries it (C4).
* A fault of a fifth shows less in every other pane. So the share asked for is 15 %: such a fault is seen as fast as one of more.
* Neighbours, the old version in the canary's own zones, are a witness like the control and the rest (C2).

Measured (``tests/detect/test_power.py``; without evidence, 50 requests/s a node): a lone canary's 50 % in 2.3 s, 100 % in 2.1 s,
five canaries' 20 % in 1.7 s, 100 % in 1.1 s at the 95th percentile; before, 1.4, 1.2, 7.5 and 1.2 s. A lone canary's 20 % takes
2.5 to 8 s. By the letter of C1 a healthy lone canary was rolled back 5 times an hour where clients try three times.

| knob | default | why |
|---|---|---|
| ``RATIO_MIN`` | 15 % of requests | a true fifth of 100 requests shows so much in 9 of 10 panes |
| ``ERRORS_MIN`` | 10 errors | C1 |
| ``NATS_MIN`` | 5 nats | one in 150 at a look, of a service that fails to 5 % already; see ``tests/detect/test_stillness.py`` |
| ``SECOND_MIN`` | 5 errors | in the panes beside the worst one |
| ``PANES`` | 5 | what needs longer is for the limits |
"""

from collections.abc import Sequence

from msgspec import Struct

from tidegate.detect.bunches import bunched_nats
from tidegate.detect.findings import Finding, percent
from tidegate.detect.neighbours import Neighbours
from tidegate.kpi.pane import NodePane
from tidegate.kpi.sums import Sums
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

ERRORS_MIN = 10
RATIO_MIN = 0.15
GROSS = 0.20
CONTROL_PART = 0.25
NATS_MIN = 5.0
SECOND_MIN = 5
PANES = 5
FEW = 3
BEFORE_MS = 600_000
"""So long after its start a rollout may find a fault that was there already: later a new one may have come."""
REQUESTS_MIN = 10
"""Fewer requests of a control say nothing about a quarter of a fifth."""

Counts = tuple[float, float]
"""Requests and errors."""


class Seen(Struct, frozen=True, array_like=True):
    """One pane: requests and errors of the canary, of its failing nodes by name, and of others; (0, 0) where there are none."""

    canary: tuple[int, int]
    failing: tuple[tuple[str, int, int], ...] = ()
    control: tuple[int, int] = (0, 0)
    rest: tuple[int, int] = (0, 0)
    near: tuple[float, float] = (0.0, 0.0)
    """The canary's neighbours, where the canary has errors."""


class Others(Struct, frozen=True):
    """With whom a canary may be compared beside those in its panes; None where there is no such past."""

    baseline: Sums | None = None
    before: Sums | None = None
    """The last minute before the rollout: what failed then is not its fault."""


def remember(
    panes: tuple[Seen, ...],
    nodes: Sequence[NodePane],
    others: tuple[Sums | None, Sums | None],
    neighbours: Neighbours,
    most: int = PANES,
) -> tuple[Seen, ...]:
    """Return the last panes with this one. ``others``: control and rest. A pane without any request changes nothing."""
    requests, errors = sum(node.requests for node in nodes), sum(node.errors for node in nodes)
    if not requests:
        return panes
    beside = neighbours.errors(nodes) if errors else None
    seen = Seen(
        canary=(requests, errors),
        failing=tuple((node.node, node.requests, node.errors) for node in nodes if node.errors),
        control=_counts(others[0]),
        rest=_counts(others[1]),
        near=(beside[1], beside[0]) if beside is not None else (0.0, 0.0),
    )
    return (*panes, seen)[-most:]


def judge_gross(panes: Sequence[Seen], size: int, others: Others, dispersion: float) -> Finding | None:
    """Return what the gross trip says of the last panes of a canary of ``size`` nodes; or None.

    It compares with the control of the same panes, or, without one that answers, with the baseline (C3); then others that suffer
    at the same time make it the environment. With nothing to compare it pauses (B7).
    """
    if sum(pane.canary[1] for pane in panes) < ERRORS_MIN:
        return None  # nearly always, and then so it is of each of the last panes
    held = None
    for many in range(1, len(panes) + 1):
        finding = _judge(panes[-many:], size, others, dispersion)
        if finding is not None and finding.action is not None:
            return finding
        held = held or finding
    return held


def _judge(panes: Sequence[Seen], size: int, others: Others, dispersion: float) -> Finding | None:
    requests, errors = counts = _sum([pane.canary for pane in panes])
    if errors < ERRORS_MIN or not _much(counts):
        return None
    if bunched_nats(errors, CONTROL_PART * GROSS * requests, dispersion) < NATS_MIN:
        return None
    if size < FEW:
        left = _less(counts, max((pane.canary for pane in panes), key=lambda canary: canary[1]))
        if left[1] < SECOND_MIN or not _much(left):
            return None
    else:
        worst, theirs = _worst(panes)
        left = _less(counts, theirs)
        if left[1] < ERRORS_MIN or not _much(left):
            return _told(Reason.ONE_NODE_ONLY, None, panes, None, f"nearly all of them on {worst}, one node alone")
    return _compared(panes, others)


def _compared(panes: Sequence[Seen], others: Others) -> Finding:
    requests, errors = _sum([pane.canary for pane in panes])
    bound = CONTROL_PART * errors / requests
    control, rest, near = (_sum([getattr(pane, name) for pane in panes]) for name in ("control", "rest", "near"))
    witnesses = [(one, "but other nodes fail too") for one in (control, rest)]
    witnesses.append((near, "but its neighbours fail too"))
    if control[0] < REQUESTS_MIN:
        witnesses.append((_counts(others.before), "but as many did before the rollout"))
    for witness, why in witnesses:
        if witness[0] >= REQUESTS_MIN and witness[1] >= bound * witness[0]:
            return _told(Reason.ENVIRONMENT, None, panes, witness, why)
    baseline = _counts(others.baseline)
    if control[0] >= REQUESTS_MIN:
        return _told(Reason.GROSS_ERRORS, Action.ROLLBACK, panes, control, "the control does not")
    if baseline[0] and baseline[1] < bound * baseline[0]:
        return _told(Reason.GROSS_ERRORS, Action.ROLLBACK, panes, baseline, "the baseline did not")
    return _told(Reason.GROSS_ERRORS, Action.PAUSE, panes, baseline, "and nothing healthy stands beside it")


def _much(counts: Counts) -> bool:
    return counts[1] >= RATIO_MIN * counts[0]


def _worst(panes: Sequence[Seen]) -> tuple[str, Counts]:
    """Return the node with most errors over all panes, with its requests and errors in the panes in which it failed."""
    found: dict[str, Counts] = {}
    for pane in panes:
        for node, requests, errors in pane.failing:
            before = found.get(node, (0, 0))
            found[node] = (before[0] + requests, before[1] + errors)
    return max(found.items(), key=lambda item: (item[1][1], item[0]))


def _counts(sums: Sums | None) -> tuple[int, int]:
    return (sums.requests, sums.errors) if sums is not None else (0, 0)


def _sum(counts: Sequence[Counts]) -> Counts:
    return sum(one[0] for one in counts), sum(one[1] for one in counts)


def _less(counts: Counts, part: Counts) -> Counts:
    return counts[0] - part[0], counts[1] - part[1]


def _told(reason: Reason, action: Action | None, panes: Sequence[Seen], other: Counts | None, why: str) -> Finding:
    requests, errors = _sum([pane.canary for pane in panes])
    within = "one pane" if len(panes) == 1 else f"{len(panes)} panes"
    return Finding(
        outcome=Outcome.FAIL if action else Outcome.HOLD,
        reason=reason,
        action=action,
        metric="errorRatio",
        canary=errors / requests,
        control=other[1] / other[0] if other is not None and other[0] else None,
        limit=GROSS,
        sentence=f"{percent(errors / requests)} of the canary's requests failed in {within} ({errors} of {requests}); {why}.",
    )
