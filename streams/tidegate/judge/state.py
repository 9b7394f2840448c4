"""What the judge holds of one partition. Mutable for speed; every change is made by ``step``, and a snapshot is plain data."""

from msgspec import Struct

from tidegate.alarms.book import AlarmBook
from tidegate.detect.scores import ScoreState
from tidegate.detect.state import SubjectJudgement
from tidegate.kpi.clock import Clock
from tidegate.kpi.dedupe import Dedupe
from tidegate.kpi.membership import Members, members_of
from tidegate.kpi.panes import OpenPanes
from tidegate.kpi.skew import Skews
from tidegate.kpi.sources import Sources
from tidegate.kpi.windows import Windows
from tidegate.wire.names import service_subject
from tidegate.wire.nodeseconds import Context


class Tally(Struct):
    """Rows by what became of them, since this state began. accepted + duplicate + late + excluded = all rows folded."""

    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    excluded: int = 0
    skewed: int = 0
    """Of the accepted ones: shifted, because their node's clock is wrong."""
    transition: int = 0
    """Of the accepted ones: of a version that is not their cohort's."""
    panes: int = 0


class JudgeState:
    """One partition's state."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.dedupe = Dedupe()
        self.skews = Skews()
        self.sources = Sources()
        self.panes = OpenPanes()
        self.windows = Windows()
        self.scores = ScoreState()
        self.closed_ms: int | None = None
        """End of the last closed second; rows before it are late."""
        self.contexts: dict[str, Context] = {}
        self.members: dict[str, Members] = {}
        """By service, derived from the contexts; so is ``of_service``, in the order of subjects."""
        self.of_service: dict[str, tuple[Context, ...]] = {}
        self.subjects: dict[str, SubjectJudgement] = {}
        self.books: dict[str, AlarmBook] = {}
        self.seen: dict[str, dict[str, int]] = {}
        """Service to node to the last second in which it said anything."""
        self.late: dict[str, int] = {}
        """Late rows by service since its last pane."""
        self.excluded: dict[str, set[str]] = {}
        """Nodes by service whose clock is too wrong, since its last pane."""
        self.early: dict[str, int] = {}
        """Subject to the start of the open pane on which it was failed early: one such verdict a pane."""
        self.looked = (0, 0)
        """Start and number of parts of the open pane that was looked at last; kept by no snapshot, it only saves work."""
        self.down = False
        """Whether the alarm telemetry-down fires."""
        self.tally = Tally()

    def know(self, context: Context) -> None:
        """Take a context in place of an older one of its subject."""
        self.contexts[context.subject] = context
        self.looked = (0, 0)
        same = (other for _, other in sorted(self.contexts.items()) if other.service == context.service)
        self.of_service[context.service] = tuple(same)
        if context.subject == service_subject(context.service):
            self.members[context.service] = members_of(context)

    def waiting(self) -> set[str]:
        """Return the services whose seconds are closed even if nothing is heard of them."""
        placed = {context.service for context in self.contexts.values() if context.placement}
        return placed | self.books.keys() | self.excluded.keys()
