"""Canary against control by a conditional binomial test: given all errors of a pane, how many fell on the canary?"""

import math
from collections.abc import Sequence

from msgspec import Struct

from tidegate.detect.evidence import Look, Weight
from tidegate.detect.findings import Finding, percent
from tidegate.kpi.pane import NodePane
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

TOLERATED = 2.0
"""Error ratio canary / control up to which a canary counts as healthy, with three nodes or more on both sides."""
TOLERATED_FEW = 4.0
"""The same with fewer: two healthy hosts often differ by more than twice (a log-normal factor with a deviation of 0.4 each)."""
FEW = 3
EFFECTS = (1.5, 2.5, 5.0, 15.0)
"""Alternatives, as multiples of what is tolerated; beyond the last the share of one node against one is practically 1."""
LOG_E_MIN = math.log(1e4)
ERRORS_MIN = 10
CAP_MIN = 5


class Binomial(Struct, frozen=True):
    """Mixture likelihood ratio of the canary's part of the errors, pane by pane.

    Null hypothesis: given the errors of a pane, the canary's are binomial with a share that corresponds to an error ratio of at
    most ``TOLERATED`` (of few nodes ``TOLERATED_FEW``) times the control's, whatever the load does. Guarantee under it: the mean
    over ``EFFECTS`` of the likelihood ratios against the nearest point of the null is a test supermartingale (likelihood ratios
    of binomials are monotone), so by Ville's inequality it ever reaches 1 / alpha with probability at most alpha, looked at
    every second. Conditioning on the total: Lindon and Malek, arXiv 2011.03567.

    On a real fleet errors are neither independent (retries, incidents) nor are healthy nodes equal, and with a null of "equal"
    such a test is wrong in a quarter of healthy hours. Hence: the null tolerates twice the errors, and more of few nodes; a
    node's errors of one second count up to four times what was to be expected, at least 5; alpha is 1e-4 and 10 errors are
    needed before it may speak. What it does not see is left to the limits.
    """

    gains: tuple[float, ...] = (0.0,) * len(EFFECTS)
    by_node: dict[str, tuple[float, ...]] = {}
    """What each canary node with errors added: taking a node's errors away and leaving its requests can only lower the
    evidence."""
    canary_requests: int = 0
    canary_errors: int = 0
    control_requests: int = 0
    control_errors: int = 0

    def update(self, look: Look) -> "Binomial":
        """Return the evidence with one more pane."""
        canary, control = _requests(look.canary), _requests(look.control)
        if not canary or not control:
            return self
        expected = (self.control_errors + 0.5) / (self.control_requests + 1)
        others = sum(_capped(node, expected) for node in look.control)
        tolerated = TOLERATED if min(len(look.canary), len(look.control)) >= FEW else TOLERATED_FEW
        steps = [_step(tolerated, effect, canary, control) for effect in EFFECTS]
        gains = [gain + others * down for gain, (_, down) in zip(self.gains, steps, strict=True)]
        by_node = dict(self.by_node)
        for node in look.canary:
            errors = _capped(node, expected)
            if errors:
                added = [errors * up for up, _ in steps]
                gains = [gain + more for gain, more in zip(gains, added, strict=True)]
                before = by_node.get(node.node, (0.0,) * len(EFFECTS))
                by_node[node.node] = tuple(old + more for old, more in zip(before, added, strict=True))
        return Binomial(
            gains=tuple(gains),
            by_node=by_node,
            canary_requests=self.canary_requests + canary,
            canary_errors=self.canary_errors + _errors(look.canary),
            control_requests=self.control_requests + control,
            control_errors=self.control_errors + _errors(look.control),
        )

    def weight(self) -> Weight:
        """Return what has been gathered against the canary."""
        worst = max((self.by_node[node] for node in sorted(self.by_node)), default=(0.0,) * len(EFFECTS))
        trimmed = [gain - own for gain, own in zip(self.gains, worst, strict=True)]
        return Weight(
            log_e=_log_mean(self.gains),
            log_e_trimmed=_log_mean(trimmed),
            canary_requests=self.canary_requests,
            canary_errors=self.canary_errors,
            control_requests=self.control_requests,
            control_errors=self.control_errors,
        )


def judge_evidence(weight: Weight, size: int) -> Finding | None:
    """Return a fail where the evidence against a canary of ``size`` nodes is overwhelming, with effect and errors to match; or
    None.
    """
    ratio = weight.ratio
    if ratio is None or ratio < TOLERATED or weight.canary_errors < ERRORS_MIN or weight.log_e < LOG_E_MIN:
        return None
    alone = size >= 3 and weight.log_e_trimmed < LOG_E_MIN
    canary = weight.canary_errors / weight.canary_requests
    control = weight.control_errors / weight.control_requests
    told = f"{percent(canary)} of the canary's requests failed so far and {percent(control)} of the control's"
    why = "one node alone decides this; no single node carries it" if alone else f"evidence e^{weight.log_e:.1f} against chance"
    return Finding(
        outcome=Outcome.HOLD if alone else Outcome.FAIL,
        reason=Reason.ONE_NODE_ONLY if alone else Reason.EVIDENCE,
        action=None if alone else Action.ROLLBACK,
        metric="errorRatio",
        canary=canary,
        control=control,
        sentence=f"{told}; {why}.",
    )


def _requests(nodes: Sequence[NodePane]) -> int:
    return sum(node.requests for node in nodes)


def _errors(nodes: Sequence[NodePane]) -> int:
    return sum(node.errors for node in nodes)


def _capped(node: NodePane, expected: float) -> int:
    return min(node.errors, max(CAP_MIN, 1 + math.ceil(4 * expected * node.requests)))


def _step(tolerated: float, effect: float, canary: int, control: int) -> tuple[float, float]:
    """Return what one error of the canary and one of the control add to the log likelihood ratio of an effect over the null."""
    alternative = effect * tolerated * canary / (effect * tolerated * canary + control)
    null = tolerated * canary / (tolerated * canary + control)
    return math.log(alternative / null), math.log((1 - alternative) / (1 - null))


def _log_mean(gains: Sequence[float]) -> float:
    top = max(gains)
    return top + math.log(sum(math.exp(gain - top) for gain in gains) / len(gains))
