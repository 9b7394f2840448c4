"""Where rollouts, flags, nodes and alarms stand, for Prometheus: read from the control API's model at each scrape.

Every API process shows the same; see ``tidegate.api.metrics_kpis``. Cardinality is bounded by services, flags, and versions that
nodes report; no label holds a node, a rollout that is over, or what a person wrote.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from copy import copy

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tidegate.api.control.mirror import Mirror
from tidegate.model import Summary, summary
from tidegate.model.alarms import policies_in_force, policy_row
from tidegate.model.nodes import UNDER_WAY
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.view import View
from tidegate.wire.decisions import Result, SubjectState
from tidegate.wire.documents import Phase
from tidegate.wire.groups import GROUP_PREFIX
from tidegate.wire.names import service_of

DECISIONS_SHOWN_MS = 3_600_000
"""So long a decision is shown; Prometheus remembers it."""
MS = 1e-3


class RolloutMetrics(Collector):
    """Gauges of what was decided and what the world last said."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def collect(self) -> Iterator[Metric]:
        """Yield the present values. Called from the serving thread, so it only looks; ledger and view are values."""
        # A copy: the event loop puts another ledger and view into the model meanwhile.
        model, now_ms = copy(self._mirror.model), self._mirror.now_ms
        ledger, view = model.ledger, model.view
        states = [(service, state) for subject, state in sorted(ledger.subjects.items()) if (service := service_of(subject))]
        current = [(service, summary(model, state.subject, now_ms)) for service, state in states if state.phase in UNDER_WAY]
        yield from _rollouts(states)
        yield from _stages(current)
        yield from _verdicts(current)
        yield from _groups(ledger)
        yield from _flags(ledger)
        yield from _nodes(ledger, view, now_ms)
        yield from _alarms(view)
        yield from _policies(ledger, now_ms)
        yield self._decisions(now_ms)
        yield self._glass(states)

    def _decisions(self, now_ms: int) -> Metric:
        """Return when a subject last had a decision of each kind: what dashboards mark on their time axes."""
        last = _gauge(
            "decision_timestamp_seconds",
            "When the last decision of a kind on a subject was made, in the last hour.",
            "subject",
            "service",
            "kind",
            "reason",
        )
        seen: set[tuple[str, str]] = set()
        for told in reversed(list(self._mirror.model.told)):
            one = told.decision
            if now_ms - told.at_ms > DECISIONS_SHOWN_MS:
                break
            if one.subject and (one.subject, one.kind) not in seen:
                seen.add((one.subject, one.kind))
                last.add_metric((one.subject, service_of(one.subject) or "", one.kind, one.reason), told.at_ms * MS)
        return last

    def _glass(self, states: Iterable[tuple[str, SubjectState]]) -> Metric:
        glass = _gauge("break_glass", "1: nodes obey break-glass, not what was decided.", "service", "action")
        for service, state in states:
            found = self._mirror.model.glass(state.subject)
            if found is not None:
                glass.add_metric((service, found.action), 1)
        return glass


def _rollouts(states: Iterable[tuple[str, SubjectState]]) -> Iterator[Metric]:
    phase = _gauge("rollout_phase", "1: the phase of a service.", "service", "phase")
    since = _gauge("rollout_phase_timestamp_seconds", "When the phase began.", "service")
    generation = _gauge("rollout_generation", "Number of the service's state.", "service")
    stage = _gauge("rollout_stage", "Stage under way, counted from 1; 0: none.", "service")
    queued = _gauge("rollout_queued_plans", "Accepted plans that wait.", "service")
    quarantined = _gauge("rollout_quarantined_versions", "Versions that may not be rolled out.", "service")
    ended = _gauge("rollout_result", "1: how the last rollout ended, or is going to end.", "service", "result")
    for service, state in states:
        for one in Phase:
            phase.add_metric((service, one), one is state.phase)
        for result in Result:
            if result is not Result.NONE:
                ended.add_metric((service, result), result is state.result)
        since.add_metric((service,), state.phase_ms * MS)
        generation.add_metric((service,), state.generation)
        stage.add_metric((service,), state.stage + 1 if state.phase in UNDER_WAY else 0)
        queued.add_metric((service,), len(state.queue))
        quarantined.add_metric((service,), len(state.quarantined))
    yield from (phase, since, generation, stage, queued, quarantined, ended)


def _stages(current: Iterable[tuple[str, Summary]]) -> Iterator[Metric]:
    info = _gauge("rollout_info", "1: a rollout under way.", "service", "rollout", "version", "settled")
    stages = _gauge("rollout_stages", "Stages of the plan under way.", "service")
    blocked = _gauge("rollout_blocked", "1: a condition that the advance still lacks (D4).", "service", "reason")
    nodes = _gauge("rollout_nodes", "Nodes of a cohort: to be given its version, given, ready.", "service", "cohort", "state")
    for service, one in current:
        info.add_metric((service, one.rollout, one.version, one.settled), 1)
        stages.add_metric((service,), one.stages)
        for reason in sorted({blocker.reason for blocker in one.blockers}):
            blocked.add_metric((service, reason), 1)
        for cohort in one.cohorts:
            for state, number in (("expected", cohort.expected), ("given", cohort.nodes), ("ready", cohort.ready)):
                nodes.add_metric((service, cohort.name, state), number)
    yield from (info, stages, blocked, nodes)


def _verdicts(current: Iterable[tuple[str, Summary]]) -> Iterator[Metric]:
    outcome = _gauge("rollout_verdict", "1: the verdict that says most of a rollout under way.", "service", "outcome", "reason")
    end = _gauge("rollout_verdict_timestamp_seconds", "End of the last second that it judged.", "service")
    evidence = _gauge("rollout_evidence_nats", "Logarithm of the evidence against the canary.", "service", "family")
    threshold = _gauge("rollout_evidence_threshold_nats", "So much of it is a fail.", "service", "family")
    for service, one in current:
        verdict = one.verdict
        if verdict is None:
            continue
        outcome.add_metric((service, verdict.outcome, verdict.reason), 1)
        end.add_metric((service,), verdict.last_pane_ms * MS)
        for family in verdict.evidence:
            evidence.add_metric((service, family.family), family.log_e)
            threshold.add_metric((service, family.family), family.threshold)
    yield from (outcome, end, evidence, threshold)


def _groups(ledger: Ledger) -> Iterator[Metric]:
    phase = _gauge("group_phase", "1: the phase of a group of services.", "group", "phase")
    wave = _gauge("group_wave", "Wave under way, counted from 1; 0: none.", "group")
    waves = _gauge("group_waves", "Waves of the group.", "group")
    for subject, state in sorted(ledger.groups.items()):
        name = subject.removeprefix(GROUP_PREFIX)
        phase.add_metric((name, state.phase), 1)
        wave.add_metric((name,), state.wave + 1 if state.active else 0)
        waves.add_metric((name,), len(state.waves))
    yield from (phase, wave, waves)


def _flags(ledger: Ledger) -> Iterator[Metric]:
    labels = ("set", "flag")
    share = _gauge("flag_share_ratio", "Share of the users who have what was set last.", *labels)
    held = _gauge("flag_held_ratio", "Share that stages have given.", *labels)
    pinned = _gauge("flag_pinned", "1: everyone has one variant, whatever the definition says (killed, switched off).", *labels)
    phase = _gauge("flag_phase", "1: where a flag's ramp stands.", *labels, "phase")
    generation = _gauge("flag_generation", "Number of the flag's state.", *labels)
    for _, state in sorted(ledger.flags.items()):
        if state.archived:
            continue
        key = (state.key.set_id, state.key.name)
        share.add_metric(key, state.weight / 10_000)
        held.add_metric(key, state.held / 10_000)
        pinned.add_metric(key, state.pinned)
        phase.add_metric((*key, state.phase), 1)
        generation.add_metric(key, state.generation)
    yield from (share, held, pinned, phase, generation)


def _nodes(ledger: Ledger, view: View, now_ms: int) -> Iterator[Metric]:
    nodes = _gauge(
        "fleet_nodes",
        "Nodes; reachable: they have reported within 90 s (B5). Who is cordoned is also one of the others.",
        "state",
    )
    services = _gauge("fleet_service_nodes", "Reachable nodes by what they say they run.", "service", "version", "state")
    oldest = _gauge("fleet_report_age_max_seconds", "Age of the oldest last report of a reachable node.")
    frozen = _gauge("fleet_frozen_nodes", "Nodes whose agent refuses to act.")
    reachable = {node for node in view.reports if view.reachable(node, now_ms)}
    silent, unheard = view.reports.keys() - reachable, view.enrolled - view.reports.keys()
    by_state = {"reachable": reachable, "unreachable": silent, "never_seen": unheard, "cordoned": {*ledger.cordoned}}
    for state, named in by_state.items():
        nodes.add_metric((state,), len(named))
    reports = [view.reports[node] for node in reachable]
    running = Counter((one.service, one.version, str(one.state)) for seen in reports for one in seen.report.services)
    for key, number in sorted(running.items()):
        services.add_metric(key, number)
    oldest.add_metric((), max((now_ms - seen.seen_ms for seen in reports), default=0) * MS)
    frozen.add_metric((), sum(bool(seen.report.frozen) for seen in view.reports.values()))
    yield from (nodes, services, oldest, frozen)


def _policies(ledger: Ledger, now_ms: int) -> Iterator[Metric]:
    frozen = _gauge("policy_frozen", "1: a freeze of the policy holds.", "policy")
    spent = _gauge("policy_budget_spent", "1: the policy's budget of rollbacks is spent.", "policy")
    for held in policies_in_force(ledger):
        row = policy_row(ledger, held, now_ms)
        frozen.add_metric((held.policy.name,), row.frozen)
        spent.add_metric((held.policy.name,), row.budget_spent)
    yield from (frozen, spent)


def _alarms(view: View) -> Iterator[Metric]:
    firing = _gauge("alarms_firing", "Alarms that fire, silenced or not.", "alarm", "service", "severity", "writer")
    found = Counter((one.name, one.service, str(one.severity), one.writer) for one in view.alarms.values())
    for key, number in sorted(found.items()):
        firing.add_metric(key, number)
    yield firing


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tidegate_{name}", text, labels=labels)


__all__ = ["RolloutMetrics"]
