"""A5 through the fold and its checkpoints."""

import pytest
from msgspec.structs import replace
from tests.judge.test_blurred import agent
from tests.judge.test_fold import context, kpis, play
from tests.kpi.rows import T0, record, row

from tidegate.judge import JudgeState, restore, snapshot, step
from tidegate.kpi.columns import RowWriter
from tidegate.wire.nodeseconds import CohortMembers
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import Source


def second(number: int, *sources: Source):
    rows = [row(seq=number + 1, second=number, source=one, boot=one, requests=100 if one is Source.SDK else 7) for one in sources]
    return record(rows, number + 1)


def test_a_skipped_second_stays_empty_also_over_a_checkpoint():
    records = [second(number, *([] if number == 3 else [Source.SDK]), Source.SCRAPE) for number in range(8)]
    whole, cut = JudgeState(), JudgeState()
    straight, resumed = [], []
    for number, one in enumerate(records):
        straight += step(whole, one, T0 + number * 1_000).kpis
        cut = restore(snapshot(cut))
        resumed += step(cut, one, T0 + number * 1_000).kpis
    assert resumed == straight
    assert [kpi.requests for kpi in straight if kpi.window_s == 1] == [100, 100, 100, 0, 100, 100]


CRASH = context(
    placement="p1",
    rollout="r.1",
    stage_nodes=11,
    min_requests=10,
    cohorts=(
        CohortMembers(name="canary", version="v2", nodes=tuple(f"n{number}" for number in range(11))),
        CohortMembers(name="control", version="v1", nodes=tuple(f"c{number}" for number in range(11))),
    ),
)


@pytest.mark.parametrize("source", [Source.SDK, Source.OTLP])
@pytest.mark.parametrize("off_ms", [0, -1_500, -3_000, -55_000, -70_000, 3_000])
def test_two_exits_are_seen_whatever_the_clock_of_their_node_says(off_ms, source):
    """What the bridge writes is in the broker's time; what a node says of itself, and of when it changed, in its own (A4)."""
    records = []
    for second in range(30):
        writer = RowWriter()
        for cohort in CRASH.cohorts:
            for node in cohort.nodes:
                own_ms = off_ms if node == "n0" else 0
                told = replace(agent(node, second, cohort.version), changed_ms=T0 + 2_000 + own_ms)
                if node == "n0" and second >= 10:
                    told = replace(told, exits=2)
                asked = row(node, seq=second + 1, second=second, version=cohort.version, source=source, requests=20)
                for one, shift_ms in ((told, own_ms), (asked, own_ms if source is Source.SDK else 0)):
                    writer.add(replace(one, start_ms=one.start_ms + shift_ms), T0 + second * 1_000 + 1_300)
        records.append(writer.flush(dict.fromkeys(range(12), T0 + (second + 1) * 1_000 + 300)))
    state, out = play([CRASH, *records])
    assert (state.tally.late, state.tally.excluded) == (0, 0)
    assert [verdict for told in out for verdict in told.verdicts][-1].reason == Reason.CRASHED


def test_what_another_version_did_is_not_told_as_this_ones():
    """A version that was rolled back and the next one on trial may share ten seconds."""

    def of(version, placement, generation):
        cohorts = (
            CohortMembers(name="canary", version=version, nodes=("n0",)),
            CohortMembers(name="control", version="v1", nodes=("n1",)),
        )
        return context(placement=placement, rollout=placement, generation=generation, cohorts=cohorts, stage_nodes=1)

    def said(number, version, errors):
        rows = [row("n0", seq=number + 1, second=number, version=version, boot=version, requests=100, errors=errors)]
        return record([*rows, row("n1", seq=number + 1, second=number, requests=100)], number + 2.2)

    bad, good = [said(number, "v2", 90) for number in range(4)], [said(number, "v3", 0) for number in range(6, 12)]
    _, out = play(
        [of("v2", "p2", 1), *bad, record([], 5.5), of("v1", "", 2), record([], 6.2), of("v3", "p3", 3), *good, record([], 13)]
    )
    (window,) = [kpi for (cohort, _), kpi in kpis(out, 10).items() if cohort == "canary"]
    assert (window.version, window.errors, window.requests, window.rate) == ("v3", 0, 400, 80.0)
