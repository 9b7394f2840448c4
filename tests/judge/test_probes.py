"""Rows of probes through the fold (I2): apart from what people ask, in KPIs and verdicts, in any order, over checkpoints."""

import random

import msgspec
import pytest
from tests.judge.test_fold import CANARY, context, kpis, play
from tests.kpi.rows import T0, histogram, idle, record, row

from tidegate.judge import JudgeState, restore, snapshot
from tidegate.judge.state import Tally
from tidegate.wire.judgement import Outcome
from tidegate.wire.probes import Probe
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState, Source

PROBE = Probe(http="/health", counts=True)
PROBED = msgspec.structs.replace(CANARY, probe=PROBE)
SECONDS = 30


def rows(second: int, *, people: int = 0, bad: bool = False, sdk: bool = True):
    """A canary n0, its control n1 and one of the rest, as their agents, probes and, maybe, SDKs see them."""
    for node, version in (("n0", "v2"), ("n1", "v1"), ("n2", "v1")):
        at = {"second": second, "seq": second + 1, "version": version}
        yield row(node, boot="agent", source=Source.AGENT, state=ServiceState.READY, changed_ms=T0 - 60_000, **at)
        wrong = 5 if bad and node == "n0" else 0
        told = {"requests": 5, "errors": wrong, "latency": histogram(*[0.02] * 5)}
        yield row(node, boot="agent.probe", source=Source.PROBE, **at, **told)
        if sdk:
            yield row(node, boot="b1", requests=people, **at)


def fold(first, seconds=SECONDS, state=None, **told):
    records = [first, *(record(rows(second, **told), second + 1.2) for second in range(seconds))]
    return play(records, state)


def verdicts(outcomes):
    return [verdict for outcome in outcomes for verdict in outcome.verdicts]


@pytest.mark.parametrize("first", [context(), context(probe=PROBE), CANARY, PROBED], ids=["free", "probed", "rollout", "both"])
def test_kpis_of_people_are_the_same_with_probes_and_without(first):
    _, with_probes = fold(first, people=20, bad=True)
    seconds = ((second, rows(second, people=20)) for second in range(SECONDS))
    bare = (record([one for one in told if one.source is not Source.PROBE], second + 1.2) for second, told in seconds)
    _, without = play([first, *bare])
    for window_s in (1, 10):
        seen = kpis(with_probes, window_s)
        assert {key: msgspec.structs.replace(kpi, values={}) for key, kpi in seen.items()} == kpis(without, window_s)
        probed = {cohort: kpi.values for (cohort, _), kpi in seen.items()}
        for cohort, values in probed.items():
            assert values["probe.error_ratio"] == (1.0 if cohort == "canary" else 0.0)
            assert values["probe.rate"] == 5.0 * (2 if len(probed) == 1 else 1), "v2 is none of the rest's versions"
            assert values["probe.p95_ms"] == pytest.approx(20, rel=0.0434)


def test_a_service_without_telemetry_passes_on_probes_and_fails_on_them():
    _, good = fold(PROBED, sdk=False)
    assert verdicts(good)[-1].reason is Reason.CLEAN_ON_PROBES
    _, bad = fold(PROBED, sdk=False, bad=True)
    failed = next(one for one in verdicts(bad) if one.outcome is Outcome.FAIL)
    assert (failed.reason, failed.slice) == (Reason.GROSS_ERRORS, "probe")
    assert failed.last_pane_ms == T0 + 2_000, "early, on the open pane: a second of grace is saved"


def test_without_a_probe_in_the_plan_rows_of_probes_judge_nothing():
    _, outcomes = fold(CANARY, people=20, bad=True)
    assert {one.outcome for one in verdicts(outcomes)[5:]} == {Outcome.PASS}


def test_rows_of_a_version_that_is_not_the_cohorts_count_for_none():
    """A6: while a canary is swapped its old process may have been asked."""
    late = [row("n0", boot="old", source=Source.PROBE, version="v1", requests=5, errors=5)]
    state, outcomes = play([PROBED, record([*late, *rows(0)], 1.2), *idle(4, 2)])
    assert state.tally.transition == 1
    assert kpis(outcomes)["canary", T0 + 1_000].values["probe.error_ratio"] == 0.0


def test_neither_order_nor_repeats_nor_a_checkpoint_in_the_middle_change_anything():
    told = [[*rows(second, people=3, bad=second > 9)] for second in range(20)]
    straight_state, straight = play([PROBED, *(record(part, second + 1.2) for second, part in enumerate(told))])
    source, state, shuffled = random.Random(1), JudgeState(), []
    for number, one in enumerate([None, *told]):
        mixed = [] if one is None else source.sample([*one, *one[:4]], len(one) + 4)
        _, outcomes = play([PROBED if one is None else record(mixed, number + 0.2)], state)
        shuffled += outcomes
        state = restore(snapshot(state))
    assert shuffled == straight
    assert Outcome.FAIL in {one.outcome for one in verdicts(straight)}
    assert msgspec.structs.replace(state.tally, duplicate=0) == msgspec.structs.replace(straight_state.tally, duplicate=0)
    assert isinstance(state.tally, Tally)


def test_what_probes_saw_before_a_rollout_is_the_slices_own_baseline():
    state, _ = fold(context(probe=PROBE), seconds=120, sdk=False)
    known = state.subjects["svc/shop"]
    assert known.baseline.blocks == ()
    assert sum(sums.requests for _, sums in known.probe.baseline.blocks) == 119 * 10
