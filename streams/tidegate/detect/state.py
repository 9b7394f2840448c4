"""What the judge remembers of one subject: plain data, encodable, a part of the checkpoint."""

from msgspec import Struct

from tidegate.detect.absence import Arrivals
from tidegate.detect.baseline import Baseline
from tidegate.detect.drift.state import Drift
from tidegate.detect.gathering import NOTHING, Gathered
from tidegate.detect.gross import Seen
from tidegate.detect.guard import Told
from tidegate.detect.measure import Measured
from tidegate.detect.presence import Watch
from tidegate.wire.probes import Probe


class SubjectJudgement(Struct, frozen=True, kw_only=True):
    """Baseline and what was learned of the service across rollouts; evidence across the placements of one attempt (B8); counts
    and windows of one placement.
    """

    baseline: Baseline = Baseline()
    rollout: str = ""
    placement: str = ""
    drift: Drift = Drift()
    windows: tuple[tuple[Measured, ...], ...] = ()
    """One for each limit, in their order."""
    gross: tuple[Seen, ...] = ()
    """The last panes, for the gross trip."""
    watches: dict[str, Watch] = {}
    """Members of canary and control."""
    first_pane_ms: int = 0
    service: tuple[Told, ...] = ()
    """What old version and new counted in the last 30 panes."""
    arrivals: tuple[Arrivals, ...] = ()
    """How rows came in the last 10 s."""
    idle_since_ms: int = 0
    """Since when the canary has had no request; 0: it has."""
    unasked_ms: int = 0
    """For how long since then nobody else had one either."""
    rest_usual: float = 0.0
    """How many nodes of the rest had telemetry of late in this placement; a part less with each second that has fewer."""
    lost: bool = False
    """This state began in the middle of an attempt: counts are not those of the placement (C7). The fold says so."""
    gathered: Gathered = NOTHING
    """Of a slice only: the pane of its limits that is not full yet."""
    thin: dict[int, Gathered] = {}
    """Of a service: the pane that is not full yet, by how many requests make it so, where one second has had too few."""
    stretch: Gathered = NOTHING
    """Of a service: what canary or control said while the other said nothing."""
    asked: Probe | None = None
    """Of the slice ``probe`` only: the question that all of this answers."""
    served: dict[str, int] = {}
    """Of a flag only: server to the sides that it has served in this placement (``tidegate.kpi.flags``)."""
    probe: "SubjectJudgement | None" = None
    """The same of the slice ``probe`` (I2), on counts of its own; None: the plan has none."""
