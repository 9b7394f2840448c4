"""Windows of 10 s and 60 s: sums of panes, aligned to the epoch."""

from msgspec import Struct

from tidegate.kpi.pane import PANE_MS, CohortPane, ServicePane

WINDOWS_S = (10, 60)
COHORTS_MAX = 50_000


class Sum(Struct):
    """One cohort over some panes. Plain data, mutable. Gauges as (sum of values, number of values)."""

    version: str = ""
    panes: int = 0
    requests: int = 0
    errors: int = 0
    counts: list[int] = []
    nodes: set[str] = set()
    expected: int = 0
    """Sum over panes; so is ``reported``."""
    reported: int = 0
    late_rows: int = 0
    transition_rows: int = 0
    gauges: dict[str, tuple[float, int]] = {}
    ratios: dict[str, tuple[int, int]] = {}
    counters: dict[str, int] = {}

    def add(self, other: "Sum") -> None:
        """Add another sum of the same cohort."""
        self.version = other.version or self.version
        self.panes += other.panes
        self.requests += other.requests
        self.errors += other.errors
        self.nodes |= other.nodes
        self.expected += other.expected
        self.reported += other.reported
        self.late_rows += other.late_rows
        self.transition_rows += other.transition_rows
        if other.counts:
            self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)] if self.counts else other.counts
        for name, (value, rows) in other.gauges.items():
            before = self.gauges.get(name, (0.0, 0))
            self.gauges[name] = (before[0] + value, before[1] + rows)
        for name, (part, whole) in other.ratios.items():
            seen = self.ratios.get(name, (0, 0))
            self.ratios[name] = (seen[0] + part, seen[1] + whole)
        for name, amount in other.counters.items():
            self.counters[name] = self.counters.get(name, 0) + amount


def sum_of(cohort: CohortPane, pane: ServicePane) -> Sum:
    """Return one pane of one cohort as a sum."""
    reporting = list(cohort.reporting())
    counts = cohort.counts
    total = Sum(
        version=cohort.version or (reporting[0].version if reporting else ""),
        panes=1,
        requests=sum(node.requests for node in reporting),
        errors=sum(node.errors for node in reporting),
        counts=counts.tolist() if counts.any() else [],
        nodes={node.node for node in reporting},
        expected=len(cohort.expected),
        reported=len(reporting),
        late_rows=pane.late_rows,
        transition_rows=pane.transition_rows,
    )
    for node in reporting:
        for name, value in node.gauges.items():
            before = total.gauges.get(name, (0.0, 0))
            total.gauges[name] = (before[0] + value, before[1] + 1)
        for name, (part, whole) in node.ratios.items():
            seen = total.ratios.get(name, (0, 0))
            total.ratios[name] = (seen[0] + part, seen[1] + whole)
        for name, amount in node.counters.items():
            total.counters[name] = total.counters.get(name, 0) + amount
    return total


class Windows(Struct):
    """Windows that are not full yet, by ``<seconds>/<service>/<cohort>``."""

    sums: dict[str, Sum] = {}

    def add(self, pane: ServicePane) -> list[tuple[int, str, Sum]]:
        """Add a pane; return the sums that are complete with it, as (seconds, cohort, sum), the pane itself among them."""
        done: list[tuple[int, str, Sum]] = []
        for name, cohort in pane.cohorts.items():
            if not cohort.expected and not cohort.nodes:
                continue
            single = sum_of(cohort, pane)
            done.append((1, name, single))
            for seconds in WINDOWS_S:
                key = f"{seconds}/{pane.service}/{name}"
                if key not in self.sums and len(self.sums) >= COHORTS_MAX:
                    del self.sums[next(iter(self.sums))]
                self.sums.setdefault(key, Sum()).add(single)
        for seconds in WINDOWS_S:
            if pane.end_ms % (seconds * PANE_MS) == 0:
                for name in ("canary", "control", "rest"):
                    complete = self.sums.pop(f"{seconds}/{pane.service}/{name}", None)
                    if complete is not None:
                        done.append((seconds, name, complete))
        return done
