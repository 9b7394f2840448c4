"""What a rule sees, what it says, and how steady that must be."""

from collections.abc import Callable, Iterable

from msgspec import Struct

from tidegate.alarms.budget import Budget
from tidegate.kpi.pane import ServicePane
from tidegate.wire.judgement import AlarmKind, Score, Verdict
from tidegate.wire.names import FLAG_PREFIX

WRITER = "judge"
STEADY_MS = 3_000
"""So long a condition holds, or does not, before an edge: a late row is not an alarm."""


class Seen(Struct, frozen=True, kw_only=True):
    """All that a rule may look at: one closed pane of one service, and what was judged of it."""

    pane: ServicePane
    verdicts: tuple[Verdict, ...] = ()
    scores: tuple[Score, ...] = ()
    budget: Budget | None = None
    """The service's error budget up to this pane; None: it declares no objective."""


class Condition(Struct, frozen=True, kw_only=True):
    """One thing that is true now. Its identity is (name, service, flag, cohort, cap, metric)."""

    name: str
    service: str
    summary: str
    cohort: str = ""
    subject: str = ""
    cap: str = ""
    metric: str = ""
    sustains: bool = False
    """It keeps an alarm that fires and was true within its rule's ``keep_ms``, and never begins one: the lower threshold of a
    hysteresis.
    """

    @property
    def id(self) -> str:
        """Deterministic identity, the same for every time it fires. What is true of a flag on a service is not of the service."""
        flag = self.subject if self.subject.startswith(FLAG_PREFIX) else ""
        return "/".join(part for part in (self.name, self.service, flag, self.cohort, self.cap, self.metric) if part)


class Rule(Struct, frozen=True, kw_only=True):
    """One kind of alarm: who finds its conditions in what is seen, and how steady they must be."""

    kind: AlarmKind
    find: Callable[[Seen], Iterable[Condition]]
    for_ms: int = STEADY_MS
    """So long a condition holds without a gap before the alarm fires."""
    keep_ms: int = STEADY_MS
    """So long it is not true before the alarm ends; longer where it flaps (``tidegate.alarms.book``)."""
