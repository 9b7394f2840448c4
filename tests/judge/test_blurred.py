"""Rows of canaries that come too late, or from a wrong clock, reach the verdict as what they are (A4, C6)."""

import pytest
from msgspec.structs import replace
from tests.judge.test_fold import CANARY, play
from tests.kpi.rows import record, row

from tidegate.judge import restore, snapshot
from tidegate.wire.judgement import Outcome
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState, Source

SECONDS = 40


def agent(node, second, version):
    fields = {"boot": f"agent-{node}", "state": ServiceState.READY, "changed_ms": 1}
    return row(node, seq=second + 1, second=second, version=version, source=Source.AGENT, **fields)


def late_rows(version):
    """Rows of a canary that come 2 to 5 s after their end: too uneven for a wrong clock, too late for their panes."""
    for second in range(SECONDS):
        rows = [row("n1", seq=second + 1, second=second, requests=20), agent("n1", second, "v1"), agent("n0", second, "v2")]
        if second == 0:
            rows.append(row("n0", seq=1, version="v2", requests=20))
        yield record(rows, second + 1)
        if second > 4:
            yield record([row("n0", seq=second, second=second - 4, version=version, requests=20)], late_ms=1_500)


def verdicts(records):
    state, outcomes = play([CANARY, *records])
    return state, [verdict for outcome in outcomes for verdict in outcome.verdicts]


def test_a_canary_whose_rows_come_too_late_is_held_and_named_not_called_silent():
    _, found = verdicts(late_rows("v2"))
    last = found[-1]
    assert (last.outcome, last.reason) == (Outcome.HOLD, Reason.LATE), last.sentence
    assert "n0" in last.sentence
    assert Outcome.PASS not in {verdict.outcome for verdict in found[6:]}


def test_late_rows_of_the_version_before_are_not_the_canarys():
    _, found = verdicts(late_rows("v1"))
    assert Reason.LATE not in {verdict.reason for verdict in found}


@pytest.mark.parametrize("processes", [1, 8])
def test_a_second_of_many_processes_that_comes_late_is_one_second(processes):
    """One in twenty is late, of a service of any number of processes: not over the tenth that holds a rollout."""

    def records():
        for second in range(SECONDS):
            late = second % 20 == 10
            rows = [agent("n1", second, "v1"), agent("n0", second, "v2"), row("n1", seq=second + 1, second=second, requests=20)]
            told = [row("n0", boot=f"b{one}", seq=second + 1, second=second, version="v2") for one in range(processes)]
            yield record(rows if late else rows + told, second + 1)
            if second % 20 == 13:
                for one in range(processes):
                    kept = {"boot": f"b{one}", "seq": second - 2, "second": second - 3, "version": "v2", "requests": 20}
                    yield record([row("n0", **kept)], late_ms=1_500)

    _, found = verdicts(records())
    assert Reason.LATE not in {verdict.reason for verdict in found}


@pytest.mark.parametrize("off_ms", [30_000, 400_000])
def test_a_canary_with_a_wrong_clock_is_held_and_named_shifted_or_left_out(off_ms):
    def records():
        for second in range(SECONDS):
            right = [row("n1", seq=second + 1, second=second, requests=20), agent("n1", second, "v1")]
            told = [row("n0", seq=second + 1, second=second, version="v2", requests=20), agent("n0", second, "v2")]
            yield record(right)
            wrong = [replace(one, start_ms=one.start_ms - off_ms) for one in told]
            yield record(wrong, second + 1, late_ms=off_ms + 300)

    _, found = verdicts(records())
    assert {(verdict.outcome, verdict.reason) for verdict in found[3:]} == {(Outcome.HOLD, Reason.SKEWED)}
    assert "n0" in found[-1].sentence


def test_who_is_late_or_skewed_stands_in_the_checkpoint():
    state, _ = play([CANARY, *late_rows("v2")])
    state.late_seconds["shop"] = {"n0": {1_000, 2_000}}
    state.skewed["shop"] = {"n0"}
    again = restore(snapshot(state))
    assert (again.late_seconds, again.skewed) == (state.late_seconds, state.skewed)
