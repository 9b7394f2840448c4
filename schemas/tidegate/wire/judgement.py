"""What the judge writes: KPIs, scores, verdicts and alarms. Flat JSON, no arrays in what Grafana reads, floats stay
floats.
"""

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tidegate.wire.names import Name, Subject, service_of
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason


class Kpi(Struct, frozen=True, kw_only=True):
    """One closed window of one cohort. Rates are per second, latencies milliseconds with a relative error of at most
    4.33 %; -1.0: no requests. Of a flag that is judged ``subject`` is the flag's and ``cohort`` the name of a variant.

    ``values`` (gauges as ``gauge.<name>``: mean over nodes; ratios as ``ratio.<name>``; counters as ``counter.<name>``:
    per second; where there were probes ``probe.rate``, ``probe.error_ratio``, ``probe.p50_ms``, ``probe.p95_ms``) are flattened
    into the record. Probes are in no other field.
    """

    service: Name
    cohort: str
    subject: str
    placement: str
    version: str
    window_s: int
    start_ms: int
    end_ms: int
    requests: int
    errors: int
    nodes: int
    nodes_expected: int
    coverage: float
    rate: float
    error_ratio: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    late_rows: int = 0
    transition_rows: int = 0
    values: dict[str, float] = {}

    @property
    def id(self) -> str:
        """Deterministic identity: a repeated record is the same record."""
        of = f"{self.service}/{self.subject}" if self.of_flag else self.service
        return f"{of}/{self.cohort}/{self.window_s}/{self.end_ms}"

    @property
    def of_flag(self) -> bool:
        """Whether it is a part of the service's requests, those with one variant of a flag."""
        return service_of(self.subject) is None

    def flat(self) -> bytes:
        """Return the record as one flat JSON object."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        extra = fields.pop("values")
        return msgspec.json.encode({"id": self.id} | fields | extra)


class Score(Struct, frozen=True, kw_only=True):
    """How unusual one KPI of one cohort was in one pane; unsaturated, in robust standard deviations."""

    service: Name
    cohort: str
    metric: str
    end_ms: int
    value: float
    score: float
    conformal: float = -1.0
    """p-value: how rare such a score is among those of this series in the last day; -1.0: too little history to say."""
    crossing: bool = False
    """Whether the series leaves what is usual with this pane. Said once, at the first crossing."""

    @property
    def id(self) -> str:
        """Deterministic identity."""
        return f"{self.service}/{self.cohort}/{self.metric}/{self.end_ms}"


class Outcome(StrEnum):
    """What a verdict says."""

    PASS = "pass"  # noqa: S105 - an outcome
    FAIL = "fail"
    HOLD = "hold"


class Evidence(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What sequential evidence says of one family of metrics, in numbers that a person can check.

    Counts are of events (errors, slow requests, parts of a ratio) since the onset that explains most, without the deleted nodes.
    """

    family: str
    """``errors``, ``latency`` or the name of a custom metric."""
    metric: str
    """The member of the family that says most: ``errors``, ``errorSeconds``, ``slow@p90``, ``ratio.<name>``."""
    log_e: float
    """Natural logarithm of the family's e-value against the canary; the threshold is on the same scale."""
    threshold: float
    canary_events: float = 0.0
    control_events: float = 0.0
    canary_requests: int = 0
    control_requests: int = 0
    share: float = 0.0
    """The canary's part of all events; ``expected_share`` is what a healthy canary of this size, age and host history has."""
    expected_share: float = 0.0
    bound_ms: float = 0.0
    """What a slow request is slower than; 0: not a latency."""
    onset_ms: int = 0
    """Estimated beginning of the change, on the judge's clock."""
    deleted: tuple[str, ...] = ()
    """Nodes left out because they incriminate the canary most (C4)."""
    compared_with: str = ""
    """``controls`` (of the same age) or ``fleet`` (every node of the old version in the same zones)."""
    log_e_pause: float = 0.0
    """The same with no node left out: it pauses, and never rolls back."""
    log_licence: float | None = None
    """Natural logarithm of the evidence that the canary is not worse than what is tolerated; None: not computed."""
    licence_threshold: float = 0.0


class Verdict(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A judgement of one placement over the panes it names. A fail carries the action it asks for."""

    subject: Subject
    service: Name
    epoch: int
    generation: int
    rollout: str
    placement: str
    stage: int
    outcome: Outcome
    reason: Reason
    action: Action | None = None
    metric: str = ""
    canary: float | None = None
    control: float | None = None
    limit: float | None = None
    compared_with: str = ""
    """``control``, ``rest``, ``baseline`` or empty."""
    canary_requests: int = 0
    """Requests of the canary since this placement began, with its probes where the plan lets them count."""
    control_requests: int = 0
    canary_errors: int = 0
    control_errors: int = 0
    canary_probes: int = 0
    """Answers to probes since then, whether they count or not."""
    control_probes: int = 0
    canary_probe_errors: int = 0
    control_probe_errors: int = 0
    slice: str = ""
    """``probe``: it is the probes that say so. Empty: people's requests, or both."""
    coverage: float = 1.0
    silent_nodes: tuple[str, ...] = ()
    first_pane_ms: int = 0
    last_pane_ms: int = 0
    """End of the last pane judged."""
    clock_ms: int = 0
    """The judge's clock (A3): append times, no worker's own."""
    log_e: float | None = None
    """Natural logarithm of the evidence against the canary, where a sequential test gave one."""
    sentence: str = ""
    """The judgement in one plain sentence, for a person."""
    evidence: tuple[Evidence, ...] = ()
    """One a family, the strongest first."""
    deviating: tuple[str, ...] = ()
    """Sub-cohorts of the canary (zone, hardware) that deviate from the rest of it, each in a few words."""
    certified: bool = False
    """Whether the statistical licence for promotion is given (C5)."""

    @property
    def id(self) -> str:
        """Deterministic identity."""
        of = "" if service_of(self.subject) is not None else f"{self.service}/"
        return f"{of}{self.placement}/{self.generation}/{self.outcome}/{self.reason}/{self.last_pane_ms}"


class Severity(StrEnum):
    """How loud an alarm is. An open critical alarm stops advances (D4)."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlarmState(StrEnum):
    """An alarm's edge."""

    FIRING = "firing"
    RESOLVED = "resolved"


EPISODES_KEPT = 20
INBOUND_WRITER = "api"
"""Of alarms that others raised, and that came in by Alertmanager's webhook."""


class Episode(Struct, frozen=True, array_like=True):
    """One past firing of an alarm, from its start to its end, in ms."""

    start_ms: int
    end_ms: int


class AlarmKind(Struct, frozen=True, kw_only=True):
    """What alarms of one name have in common; docs/alarms.md is made of these."""

    name: str
    severity: Severity
    writer: str
    meaning: str
    """What is true while it fires."""
    remedy: str
    """What a person does about it."""
    timing: str = ""
    """When it begins and ends, in words."""

    def firing(self, about: str, start_ms: int, summary: str, **fields: Any) -> "Alarm":
        """Return an alarm of this kind that fires since then; ``about`` tells it apart from others of the kind."""
        return Alarm(
            id=f"{self.name}/{about}",
            writer=self.writer,
            name=self.name,
            state=AlarmState.FIRING,
            severity=self.severity,
            start_ms=start_ms,
            summary=summary,
            **fields,
        )


class Alarm(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named condition with a start and an end; the last record of a key is its state, and holds its history (I1).

    The topic is compacted, so what came before must stand in the last record: ``past`` has the newest 20 episodes, ``episodes``
    says how many there were since the writer began to count. A start time in the key would keep all, and an alarm whose writer
    lost its state would fire for ever under a key that nobody writes again; so would the topic grow for ever.
    """

    id: str
    writer: str
    name: str
    state: AlarmState
    severity: Severity
    start_ms: int
    end_ms: int = 0
    service: str = ""
    subject: str = ""
    labels: dict[str, str] = {}
    summary: str = ""
    past: tuple[Episode, ...] = ()
    """Earlier episodes, oldest first, without the present one."""
    episodes: int = 1
    """How often it has fired, the present time included."""

    @property
    def key(self) -> str:
        """Key on the topic."""
        return f"{self.writer}/{self.id}"


def fired_again(alarm: Alarm, before: Alarm | None) -> Alarm:
    """Return an alarm that begins, with what its last record knows of earlier times."""
    if before is None:
        return alarm
    past = (*before.past, Episode(before.start_ms, before.end_ms))[-EPISODES_KEPT:]
    return replace(alarm, past=past, episodes=before.episodes + 1)
