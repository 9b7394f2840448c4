"""Panes as drawn are those that the real fold makes of the rows of the same seconds."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.bench.judgement.play import edges_of
from tests.sim.feed import records

from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge, learn
from tidegate.judge import JudgeState, step
from tidegate.kpi.membership import REST
from tidegate.sim import WORLDS, Episode, Fault, FaultKind, Run, Second
from tidegate.wire.judgement import Kpi, Verdict

WHOLE = {"lost": 0.0, "late": 0.0}


def episode_of(fault: Fault | None = None, **changes: float) -> Episode:
    return Episode(world=replace(WORLDS["everything"], **changes), canaries=3, others=9, past=None, history_s=120, fault=fault)


def folded(episode: Episode, seconds: int) -> tuple[list[Verdict], list[Kpi]]:
    """Fold the rows of an episode as the judge does."""
    state, verdicts, kpis = JudgeState(), list[Verdict](), list[Kpi]()
    for append_ms, record in records(Run(episode, np.random.default_rng(5)), seconds):
        outcome = step(state, record, append_ms)
        verdicts += outcome.verdicts
        kpis += [kpi for kpi in outcome.kpis if kpi.window_s == 1]
    return verdicts, kpis


@pytest.mark.parametrize("fault", [None, Fault(FaultKind.ERRORS, 0.2, onset_s=40)])
def test_verdicts_on_drawn_panes_are_those_of_the_fold_of_all_rows(fault):
    verdicts, _ = folded(episode_of(fault, **WHOLE), 91)
    early = {
        verdict.last_pane_ms: replace(verdict, clock_ms=0) for verdict in verdicts
    }  # of a pane's the last is the closed one's
    run = Run(episode_of(fault, **WHOLE), np.random.default_rng(5))
    state = SubjectJudgement()
    for second in run.prelude():
        state = learn(state, second.pane(edges_of(state)))
    for second in run.rollout(90):
        state, verdict = judge(state, second.context, second.pane(edges_of(state)), second.clock_ms)
        assert early[verdict.last_pane_ms] == replace(verdict, clock_ms=0)


def test_without_losses_every_second_of_every_cohort_has_the_same_sums():
    _, kpis = folded(episode_of(**WHOLE), 30)
    run = Run(episode_of(**WHOLE), np.random.default_rng(5))
    drawn: dict[tuple[str, int], tuple[int, int, int]] = {}
    for second in [*run.prelude(), *run.rollout(30)]:
        for name, cohort in second.pane().cohorts.items():
            sums = cohort.sums
            drawn[name, second.start_ms] = (sums.requests, sums.errors, len(cohort.reported))
    found = {(kpi.cohort, kpi.start_ms): (kpi.requests, kpi.errors, kpi.nodes) for kpi in kpis}
    assert len(found) > 200
    assert {key: found[key] for key in drawn if key in found} == {key: drawn[key] for key in drawn if key in found}


def test_rows_that_are_lost_or_late_are_missing_in_both():
    changes = {"lost": 0.05, "late": 0.05}
    _, kpis = folded(episode_of(**changes), 10)
    run = Run(episode_of(**changes), np.random.default_rng(5))
    drawn = {second.start_ms: second.pane().cohorts[REST].sums.requests for second in run.prelude()}
    found = {kpi.start_ms: kpi.requests for kpi in kpis if kpi.cohort == REST and kpi.start_ms in drawn}
    assert found == {start_ms: drawn[start_ms] for start_ms in found}
    assert sum(kpi.late_rows for kpi in kpis) > 50


def second_of(canaries: int = 2) -> Second:
    run = Run(Episode(canaries=canaries, past=None, history_s=60), np.random.default_rng(1))
    list(run.prelude())
    return list(run.rollout(20))[-1]


def test_the_table_of_the_rest_counts_requests_above_the_edges_it_is_given():
    second = second_of()
    edges = (40, 50, 60)
    table = second.pane(edges).cohorts[REST].crowd.table
    assert table is not None
    counts = second.block.counts[-1]
    names = second.block.names
    for node, slow in zip(table.nodes, table.slow.tolist(), strict=True):
        assert slow == [int(counts[names.index(node), edge + 1 :].sum()) for edge in edges]
    assert table.nodes == tuple(sorted(table.nodes))
    assert set(table.strata) == {"a", "b", "c"}
    assert second.pane().cohorts[REST].crowd.table.slow.shape == (len(table.nodes), 0)  # type: ignore[union-attr]


def test_controls_are_the_nodes_after_the_canaries_and_as_old():
    second = second_of()
    pane = second.pane()
    assert (pane.cohorts["canary"].expected, pane.cohorts["control"].expected) == (("n000", "n001"), ("n002", "n003"))
    changed = {node.changed_ms for name in ("canary", "control") for node in pane.cohorts[name].nodes.values() if node.agent}
    assert len(changed) == 1
