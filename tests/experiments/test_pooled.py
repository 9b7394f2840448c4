"""Sums of partitions together, whatever their order; the alarms that follow of them."""

import math
import random

import pytest
from msgspec.structs import replace
from tests.experiments.kit import BEGIN_MS, TRIAL, did, folded, saw

from tidegate.detect.experiments import Arm, Proposed, Why, propose
from tidegate.experiments import ExperimentState, sums
from tidegate.experiments.alarms import IDLE_MS, Alarms
from tidegate.experiments.pooled import design_of, newer, pooled, seen_of
from tidegate.wire.codec import encode
from tidegate.wire.experiments import ArmSums, Experiment, Metric, MetricKind, MetricSums, Sums
from tidegate.wire.judgement import AlarmState

EXPERIMENT = Experiment(
    name="checkout",
    control="off",
    primary=Metric(name="bought"),
    secondary=(Metric(name="paid", kind=MetricKind.MEAN),),
    min_run_time="1h",
)


def part(partition: int, off: int, on: int, *, doubles: int = 0, **fields) -> Sums:
    """What one partition says: a tenth of the users of off bought, a fifth of those of on."""
    arms = {
        "off": ArmSums(off, doubles, (MetricSums(off // 10, off / 10, off / 10), MetricSums(off, 2.0 * off, 5.0 * off))),
        "on": ArmSums(on, 0, (MetricSums(on // 5, 9.0 * on, 90.0 * on), MetricSums(on, 2.0 * on, 5.0 * on))),
    }
    known = {"trial": TRIAL, "offset": 9, "set_id": "web", "flag": "fast", "generation": 4}
    times = {"first_ms": BEGIN_MS, "last_ms": BEGIN_MS + 7_200_000}
    return Sums(partition=partition, arms=arms, **(known | times | fields))


def test_a_log_dealt_to_partitions_adds_up_to_the_whole_of_it_in_any_order():
    people = range(600)
    events = [saw(at, "on" if at % 3 else "off") for at in people]
    events += [did(at, "paid", float(at % 7), at_ms=BEGIN_MS + at) for at in people if at % 2]
    parts = [ExperimentState(partition) for partition in range(12)]
    for partition, state in enumerate(parts):
        folded([event for event in events if int(event.user[-2:], 16) % 12 == partition], state)
    records = [sums(state, "checkout", 0) for state in parts]
    whole = pooled([sums(folded(events, ExperimentState(0)), "checkout", 0)])
    for seed in range(5):
        random.Random(seed).shuffle(records)
        found = pooled(records)
        assert (found.arms, found.users, found.dealt) == (whole.arms, 600, {"off": 200, "on": 400})
    assert found.past == pooled(sorted(records, key=lambda one: one.partition)).past
    assert [point.at_ms for point in found.past] == sorted({point.at_ms for point in found.past})


def test_of_two_records_of_a_partition_the_one_that_covers_more_counts():
    older, later = part(1, 10, 10, offset=5), part(1, 20, 20, offset=8)
    assert newer(newer(None, later), older) is later
    anew = part(1, 1, 1, offset=2, generation=9)
    assert newer(later, anew) is anew


def test_partitions_that_still_tell_of_an_earlier_run_are_left_out():
    anew = part(2, 5, 5, generation=7, trial=replace(TRIAL, run="0000000b"))
    found = pooled([part(1, 100, 100), anew])
    assert (found.users, found.generation) == (10, 7)
    assert pooled([]) is None


def test_of_a_binary_metric_a_user_counts_once_and_of_a_mean_all_that_was_done():
    seen = seen_of(EXPERIMENT, pooled([part(1, 100, 200, doubles=3)]))
    assert seen.arms["bought"] == {"off": Arm(100, 10.0, 10.0), "on": Arm(200, 40.0, 40.0)}
    assert seen.arms["paid"]["on"] == Arm(200, 400.0, 1000.0)
    assert (seen.users, seen.double, seen.ran_s) == ({"off": 103, "on": 200}, 3, 7_200.0)


@pytest.mark.parametrize(
    ("off", "on", "hours", "outcome", "why"),
    [
        (5_000, 5_000, 2, Proposed.SHIP, Why.BETTER),
        (5_000, 5_000, 0.5, Proposed.KEEP_RUNNING, Why.TOO_SHORT),
        (50, 50, 2, Proposed.KEEP_RUNNING, Why.TOO_FEW),
        (5_000, 4_000, 2, Proposed.INVALID, Why.MISMATCH),
    ],
)
def test_what_is_proposed_rests_on_the_declared_design(off, on, hours, outcome, why):
    found = pooled([part(1, off, on, last_ms=BEGIN_MS + int(hours * 3_600_000))])
    proposal = propose(design_of(EXPERIMENT, TRIAL), seen_of(EXPERIMENT, found))
    assert (proposal.outcome, proposal.reason) == (outcome, why)


NOW_MS = BEGIN_MS + 7_200_000


def looked(*records: Sums, alarms: Alarms | None = None, now_ms: int = NOW_MS) -> list[tuple[str, str]]:
    alarms = alarms or Alarms()
    for record in records:
        alarms.read("experiments", encode(record))
    return [(alarm.name, str(alarm.state)) for alarm in alarms.edges(now_ms)]


def test_a_mismatch_that_no_partition_shows_by_itself_is_seen_in_all_of_them():
    parts = [part(at, 1_000, 900) for at in range(12)]
    assert looked(parts[0]) == []
    assert looked(*parts) == [("experiment_mismatch", "firing")]


def test_the_alarms_are_told_once_and_end_when_the_experiment_begins_anew():
    alarms = Alarms()
    bad = part(1, 5_000, 4_000, doubles=900, refused=1)
    names = ["experiment_doubles", "experiment_full", "experiment_mismatch"]
    assert looked(bad, alarms=alarms) == [(name, "firing") for name in names]
    assert looked(bad, alarms=alarms) == []
    anew = part(1, 10, 10, generation=9, trial=replace(TRIAL, run="0000000b"))
    assert looked(anew, alarms=alarms) == [(name, "resolved") for name in names]
    assert looked(anew, alarms=alarms) == []


def test_a_successor_reads_what_fires_and_says_nothing_twice():
    first, second = Alarms(), Alarms()
    bad = part(1, 5_000, 4_000)
    first.read("experiments", encode(bad))
    (edge,) = first.edges(NOW_MS)
    assert (edge.key, edge.subject) == ("experiment/experiment_mismatch/checkout", "flag/web/fast")
    second.read("alarms", encode(edge))
    assert looked(bad, alarms=second) == []
    (over,) = second.edges(NOW_MS + 2 * IDLE_MS)
    assert (over.state, over.start_ms, over.end_ms) == (AlarmState.RESOLVED, edge.start_ms, NOW_MS + 2 * IDLE_MS)


def test_what_cannot_be_read_and_the_alarms_of_others_are_passed_over():
    alarms = Alarms()
    for topic, value in (("experiments", b"{"), ("experiments", None), ("alarms", b"[]")):
        alarms.read(topic, value)
    assert alarms.edges(NOW_MS) == []


def test_shares_of_one_hundredth_are_held_against_what_was_declared():
    trial = replace(TRIAL, shares={"off": 99, "on": 1})
    assert looked(part(1, 9_900, 100, trial=trial)) == []
    assert looked(part(1, 9_900, 300, trial=trial)) == [("experiment_mismatch", "firing")]
    assert math.isfinite(propose(design_of(EXPERIMENT, trial), seen_of(EXPERIMENT, pooled([part(1, 0, 0)]))).mismatch_log_e)
