"""Windows of 10 s and 60 s: sums of panes, aligned to the epoch."""

from collections.abc import Iterable

from msgspec import Struct

from tidegate.kpi.pane import PANE_MS, CohortPane, ServicePane
from tidegate.kpi.sums import Sums, plus

WINDOWS_S = (10, 60)
COHORTS = ("canary", "control", "rest")
OPEN_MAX = 12_000
"""Windows open at once in one partition; of more, those that have not changed for longest are dropped."""


class Window(Struct):
    """One cohort over some panes, ``sums.panes`` of them. Plain data, mutable. Late and transition rows are the service's."""

    end_ms: int = 0
    version: str = ""
    sums: Sums = Sums()
    nodes: set[str] = set()
    expected: int = 0
    """Sum over panes; so is ``reported``."""
    reported: int = 0
    late_rows: int = 0
    transition_rows: int = 0
    probes: Sums = Sums()

    def add(self, other: "Window") -> None:
        """Add a later pane of the same cohort."""
        self.version = other.version or self.version
        self.sums = plus(self.sums, other.sums)
        self.nodes |= other.nodes
        self.expected += other.expected
        self.reported += other.reported
        self.late_rows += other.late_rows
        self.transition_rows += other.transition_rows
        if other.probes.requests:
            self.probes = plus(self.probes, other.probes)


def window_of(cohort: CohortPane, pane: ServicePane) -> Window:
    """Return one pane of one cohort as a window of a second."""
    reported = cohort.reported
    seen = next((node.version for node in cohort.reporting()), "")
    probed = pane.probe.cohorts.get(cohort.name) if pane.probe is not None else None
    return Window(
        end_ms=pane.end_ms,
        version=cohort.version or cohort.crowd.version or seen,
        sums=cohort.sums,
        nodes=set(reported),
        expected=len(cohort.expected),
        reported=len(reported),
        late_rows=pane.late_rows,
        transition_rows=pane.transition_rows,
        probes=probed.sums if probed is not None else Sums(),
    )


class Windows(Struct):
    """Windows that are not full yet, by ``<seconds>/<service>/<cohort>``; of flags ``<seconds>/<service>/<flag>/<variant>``."""

    open: dict[str, Window] = {}

    def add(self, pane: ServicePane, flag: str = "", names: Iterable[str] = COHORTS) -> list[tuple[int, str, Window]]:
        """Add a pane; return what is complete with it, as (seconds, cohort, window), the pane itself among them.

        ``flag``: its cohorts are variants of this subject. ``names``: all that there are, for a cohort that is not there in the
        last second of a window has that window all the same.
        """
        done: list[tuple[int, str, Window]] = []
        of = f"{pane.service}/{flag}" if flag else pane.service
        for name, cohort in pane.cohorts.items():
            if cohort.expected or cohort.nodes:
                single = window_of(cohort, pane)
                done.append((1, name, single))
                for seconds in WINDOWS_S:
                    end_ms = pane.end_ms + -pane.end_ms % (seconds * PANE_MS)
                    self._open(f"{seconds}/{of}/{name}", end_ms, single.version).add(single)
        for seconds in WINDOWS_S:
            if pane.end_ms % (seconds * PANE_MS) == 0:
                for name in names:
                    complete = self.open.pop(f"{seconds}/{of}/{name}", None)
                    if complete is not None and complete.end_ms == pane.end_ms:
                        done.append((seconds, name, complete))
        return done

    def forget(self, closed_ms: int) -> None:
        """Drop windows that are over and never became full: their service fell silent."""
        for key in [key for key, window in self.open.items() if window.end_ms <= closed_ms]:
            del self.open[key]

    def _open(self, key: str, end_ms: int, version: str) -> Window:
        window = self.open.pop(key, None)
        if window is None or window.end_ms != end_ms or (version and window.version not in ("", version)):
            # What is left of an older one never became full: its service fell silent. What another version did is not told as
            # this one's.
            window = Window(end_ms=end_ms)
        if len(self.open) >= OPEN_MAX:
            del self.open[next(iter(self.open))]
        self.open[key] = window
        return window
