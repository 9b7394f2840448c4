"""The interface of sequential evidence: what a statistic must be to sit in the judge.

An implementation is a frozen struct of plain data (it goes into the checkpoint) with two methods. ``update`` folds one closed
pane; ``weight`` says what has been gathered. It spans the placements of one attempt (B8), so it must not assume that the
cohorts stay the same nodes. Its docstring must name the null hypothesis, the guarantee under it and the paper; what the null
leaves out of real fleets is said there too.
"""

from collections.abc import Sequence
from typing import Protocol, Self

from msgspec import Struct

from tidegate.kpi.pane import NodePane
from tidegate.kpi.sums import Sums


class Look(Struct, frozen=True):
    """One closed pane as evidence sees it: rows of the same second on both sides, and the subject's past where it is known."""

    end_ms: int
    canary: Sequence[NodePane]
    control: Sequence[NodePane]
    baseline: Sums | None = None


class Weight(Struct, frozen=True):
    """Evidence so far. ``log_e``: natural logarithm of the e-value; ``log_e_trimmed``: without the node that incriminates most
    (C4).
    """

    log_e: float
    log_e_trimmed: float
    canary_requests: int
    canary_errors: int
    control_requests: int
    control_errors: int

    @property
    def ratio(self) -> float | None:
        """Canary's error ratio over the control's, the latter with half an error added; None before both had requests."""
        if not self.canary_requests or not self.control_requests:
            return None
        return (self.canary_errors / self.canary_requests) / ((self.control_errors + 0.5) / self.control_requests)


class Evidence(Protocol):
    """A fold of looks into a weight. Total: a look without requests on one side changes nothing."""

    def update(self, look: Look) -> Self:
        """Return the evidence with one more pane."""
        ...

    def weight(self) -> Weight:
        """Return what has been gathered against the canary."""
        ...
