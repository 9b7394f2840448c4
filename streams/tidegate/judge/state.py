"""What the judge holds of one partition. Mutable for speed; every change is made by ``step``, and a snapshot is plain data."""

from msgspec import Struct
from msgspec.structs import replace

from tidegate.alarms.book import AlarmBook
from tidegate.detect.scores import ScoreState
from tidegate.detect.state import SubjectJudgement
from tidegate.kpi.caps import Named, overflow_of
from tidegate.kpi.clock import Clock
from tidegate.kpi.dedupe import Dedupe
from tidegate.kpi.flags import Flag, flags_of
from tidegate.kpi.membership import Members, members_of
from tidegate.kpi.metrics import Metrics
from tidegate.kpi.pane import Exceeded
from tidegate.kpi.panes import OpenPanes
from tidegate.kpi.skew import Skews
from tidegate.kpi.sources import Sources
from tidegate.kpi.windows import Windows
from tidegate.wire.judgement import Alarm
from tidegate.wire.names import service_subject
from tidegate.wire.nodeseconds import Context


class Tally(Struct):
    """Rows by what became of them, since this state began. accepted + duplicate + late + excluded + overflow = all rows
    folded.
    """

    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    excluded: int = 0
    skewed: int = 0
    """Of the accepted ones: shifted, because their node's clock is wrong."""
    transition: int = 0
    """Of the accepted ones: of a version that is not their cohort's."""
    panes: int = 0
    overflow: int = 0
    """Of boots beyond a cap: summed up in the partition's overflow service, without regard to who they are."""
    no_room: int = 0
    """Of the accepted ones, and of overflow: of seconds that are not kept, for too many rows waited while the clock stood."""
    refused: dict[str, int] = {}
    """Names for which a cap left no room, by cap, each as often as it came."""

    def copy(self) -> "Tally":
        """Return the counts as they are now."""
        return replace(self, refused=dict(self.refused))


class JudgeState:
    """The state of one partition of ``nodeseconds``, by its number."""

    def __init__(self, partition: int = 0) -> None:
        self.partition = partition
        self.overflow = overflow_of(partition)
        """The service that holds what exceeds a cap."""
        self.lost = False
        """Whether what came before was lost; to be said before the first record."""
        self.begun_ms = 0
        """Append time of the first record of a state that was lost; 0: this state has seen everything."""
        self.inherited: tuple[Alarm, ...] = ()
        """Alarms of a state that was lost, to be said before the first record (``tidegate.judge.inherited``)."""
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
        """By their names: of a flag there is one for each service (G3). So are ``heard``, ``subjects`` and ``early``."""
        self.heard: dict[str, int] = {}
        """When, on the clock, each context came last."""
        self.members: dict[str, Members] = {}
        """By service, derived from the contexts; so is ``of_service``, in the order of names."""
        self.of_service: dict[str, tuple[Context, ...]] = {}
        self.flags: dict[str, tuple[Flag, ...]] = {}
        """By service, derived likewise: the flags that are judged on it, most often none."""
        self.subjects: dict[str, SubjectJudgement] = {}
        self.books: dict[str, AlarmBook] = {}
        self.plant = AlarmBook()
        """The partition's own conditions: its clock and what moves it."""
        self.metrics = Metrics()
        self.exceeded: dict[str, dict[str, Exceeded]] = {}
        """Service to cap to what exceeded it, since the service's last pane."""
        self.seen: dict[str, dict[str, int]] = {}
        """Service to node to the last second in which it said anything."""
        self.late: dict[str, int] = {}
        """Late rows by service since its last pane."""
        self.excluded: dict[str, set[str]] = {}
        """Nodes by service whose clock is too wrong, since its last pane."""
        self.late_seconds: dict[str, dict[str, set[int]]] = {}
        """Members of compared cohorts by service with the starts of seconds that came late, since its last pane."""
        self.skewed: dict[str, set[str]] = {}
        """Members of compared cohorts by service whose clock is wrong, since its last pane."""
        self.early: dict[str, int] = {}
        """Start of the open pane on which each was failed early: one such verdict a pane."""
        self.looked = (0, 0)
        """Start and number of parts of the open pane that was looked at last; kept by no snapshot, it only saves work."""
        self.down = False
        """Whether telemetry is down; for code of before, which has no other word for it."""
        self.tally = Tally()

    @property
    def named(self) -> Named:
        """What has room whatever the caps say."""
        return Named(self.of_service.keys(), self.members)

    def edges(self) -> dict[str, tuple[int, ...]]:
        """Return the services whose rest is looked at node by node, with the histogram slots by which it is."""
        own = ((service, self.subjects.get(service_subject(service))) for service in self.seen)
        return {service: known.drift.past.edges if known is not None else () for service, known in own}

    def probed(self) -> dict[str, tuple[int, ...]]:
        """Return the services that a plan has probed (I2), with the histogram slots by which their probes are looked at."""
        found: dict[str, tuple[int, ...]] = {}
        for subject, context in self.contexts.items():
            if context.probe is not None and subject == service_subject(context.service):
                known = self.subjects.get(subject)
                found[context.service] = known.probe.drift.past.edges if known is not None and known.probe is not None else ()
        return found

    def tables(self) -> dict[str, int]:
        """Return how many entries each table has that senders can make grow."""
        return {
            "boots": len(self.dedupe),
            "nodes": len(self.skews),
            "services": len(self.seen),
            "places": sum(map(len, self.seen.values())),
            "metrics": sum(map(len, self.metrics.services.values())),
            "series": len(self.scores.series),
            "windows": len(self.windows.open),
            "subjects": len(self.subjects),
            "drift": sum(
                len(one.drift.past.nodes) for known in self.subjects.values() for one in (known, known.probe) if one is not None
            ),
            "served": sum(len(known.served) for known in self.subjects.values()),
            "contexts": len(self.contexts),
            "alarms": sum(len(book.watched) + len(book.ended) for book in self.books.values()),
        }

    def know(self, context: Context) -> None:
        """Take a context in place of an older one of its subject."""
        self.contexts[context.name] = context
        self._derive(context)

    def unlearn(self, name: str) -> None:
        """Drop a context that nobody repeats any more."""
        context = self.contexts.pop(name)
        self.heard.pop(name, None)
        self.early.pop(name, None)
        self._derive(context)

    def _derive(self, context: Context) -> None:
        """Bring up to date what follows from the contexts of a service."""
        self.looked = (0, 0)
        same = (other for _, other in sorted(self.contexts.items()) if other.service == context.service)
        self.of_service[context.service] = tuple(same)
        if not self.of_service[context.service]:
            del self.of_service[context.service]
        self.flags[context.service] = flags_of(self.of_service.get(context.service, ()))
        if not self.flags[context.service]:
            del self.flags[context.service]
        own = self.contexts.get(service_subject(context.service))
        if own is not None:
            self.members[context.service] = members_of(own)
        else:
            self.members.pop(context.service, None)

    def waiting(self) -> set[str]:
        """Return the services whose seconds are closed even if nothing is heard of them."""
        placed = {context.service for context in self.contexts.values() if context.placement}
        watched = {service for service, book in self.books.items() if book.watched}
        return placed | watched | self.excluded.keys() | self.exceeded.keys()
