"""Sub-cohorts that deviate are named: where a fault is, and nothing where there is none."""

from collections.abc import Iterator

import numpy as np
import pytest
from msgspec.structs import replace
from tests.detect.drift.kit import ERRORS, FIRST_SLOW, START_MS, Fleet, Play, quiet

from tidegate.detect import verdicts
from tidegate.detect.drift import deviating as module
from tidegate.detect.drift.deviating import COHORTS_MAX, NAMED_MAX, TIMES, cohorts_of, deviations
from tidegate.detect.drift.layout import STRATA_MAX, Counts, Group
from tidegate.detect.drift.learned import Learned
from tidegate.detect.drift.past import Past
from tidegate.detect.drift.seconds import Kind
from tidegate.detect.drift.state import Drift
from tidegate.detect.evidence import deviating_of
from tidegate.detect.state import SubjectJudgement
from tidegate.kpi.buckets import UPPER_EDGES_S
from tidegate.sim import WORLDS, Episode, Fault, FaultKind, Run
from tidegate.sim import Past as SimPast
from tidegate.wire.judgement import Verdict

ZONES = Fleet(canaries=9, controls=9, rest=21, zones=3)
CANARY = ZONES.where(Kind.CANARY)
IN_Y = ZONES.where(Kind.CANARY, zone="y")


def named(play: Play) -> list[tuple[str, str]]:
    """Zone and metric of what is named at the end."""
    counts = play.run().counts
    now_ms = START_MS + 1_000 * play.seconds
    return [(one.zone, one.metric) for one in deviations(counts, play.past_or_quiet(), play.learned, now_ms)]


def grouped(*strata: str) -> Counts:
    names = ("*", *dict.fromkeys(strata))
    return Counts(strata=names, groups=tuple(Group(names.index(name), 0, (f"n{at}",)) for at, name in enumerate(strata)))


def test_a_fault_in_one_zone_names_the_zone_with_what_is_wrong_there_and_elsewhere():
    play = Play(fleet=ZONES, seconds=120, times=lambda _: ZONES.times(20.0, IN_Y, [ERRORS]))
    (one,) = deviations(play.run().counts, quiet(ZONES), Learned(), START_MS + 120_000)
    assert (one.zone, one.hardware, one.metric, one.onset_ms) == ("y", "", "errors", START_MS)
    assert one.share == pytest.approx(0.02, rel=0.1)
    assert one.elsewhere == pytest.approx(0.001, rel=0.5)
    assert not one.capped


def test_slow_requests_of_one_zone_are_told_by_their_bound():
    assert named(Play(fleet=ZONES, times=lambda _: ZONES.times(5.0, IN_Y, [FIRST_SLOW + 3]))) == [("y", "slow@p95")]


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(CANARY, id="the whole canary: no part of it deviates"),
        pytest.param(ZONES.where(zone="y"), id="a zone that is ill, old version and new"),
        pytest.param(IN_Y & (np.cumsum(IN_Y) == 1), id="one server is not its zone"),
        pytest.param(np.zeros(len(CANARY), dtype=bool), id="nobody"),
    ],
)
def test_nothing_is_named_where_no_part_of_the_canary_deviates(where):
    assert named(Play(fleet=ZONES, times=lambda _: ZONES.times(20.0, where, [ERRORS]))) == []


def test_of_an_incident_of_a_zone_that_gates_see_too_late_its_old_version_is_believed(monkeypatch):
    few = Fleet(canaries=12, controls=3, rest=6, zones=3)
    ill = few.times(30.0, few.where(zone="y"), [ERRORS])
    play = Play(fleet=few, times=lambda at: ill if at >= 61 else 1.0, ages=lambda at: at + 2.0)
    looks = [replace(play, seconds=61 + seconds) for seconds in (2, 4, 6, 10, 20)]
    assert not [one for look in looks for one in named(look)]
    monkeypatch.setattr(module, "BELIEVED", 1e9)
    assert [one for look in looks for one in named(look)]


def test_what_is_less_than_twice_is_not_named_however_sure():
    few = float(TIMES[0]) * 0.85
    large = Fleet(canaries=9, controls=9, rest=60, zones=3, errors=0.05)
    ill = large.where(Kind.CANARY, zone="y")
    assert named(Play(fleet=large, seconds=600, every=600, times=lambda _: large.times(few, ill, [ERRORS]))) == []


def test_a_zone_that_is_better_than_the_others_is_not_named_and_the_others_are_not_worse_for_it():
    large = Fleet(canaries=9, controls=9, rest=60, zones=3, errors=0.01)
    assert named(Play(fleet=large, times=lambda _: large.times(0.05, large.where(Kind.CANARY, zone="y"), [ERRORS]))) == []


def test_two_zones_of_which_each_deviates_are_both_named():
    wide = Fleet(canaries=18, controls=18, rest=36, zones=6)
    ill = wide.where(Kind.CANARY, zone="y") | wide.where(Kind.CANARY, zone="w")
    assert sorted(named(Play(fleet=wide, times=lambda _: wide.times(40.0, ill, [ERRORS])))) == [("w", "errors"), ("y", "errors")]


def test_no_more_than_three_are_named():
    wide = Fleet(canaries=12, controls=12, rest=36, zones=6)
    ill = np.any([wide.where(Kind.CANARY, zone=zone) for zone in "xyzu"], axis=0)
    assert len(named(Play(fleet=wide, seconds=300, times=lambda _: wide.times(40.0, ill, [ERRORS])))) <= NAMED_MAX


def test_bunches_that_were_left_out_are_told_of():
    play = Play(fleet=ZONES, seconds=60, times=lambda _: ZONES.times(600.0, IN_Y, [ERRORS]))
    drift = Drift(past=quiet(ZONES), counts=play.run().counts)
    assert deviating_of(drift, START_MS + 60_000) == ("zone y: over 10.0 % errors, elsewhere 0.1 %",)


def test_sub_cohorts_are_zones_and_kinds_of_machine_that_are_not_everybody_nor_one_server():
    counts = grouped("a/large", "a/large", "b/large", "b/small", "c/small")
    assert cohorts_of(counts) == {
        ("a", ""): frozenset({0, 1}),
        ("b", ""): frozenset({2, 3}),
        ("", "large"): frozenset({0, 1, 2}),
        ("", "small"): frozenset({3, 4}),
    }
    assert cohorts_of(grouped("a", "a", "a")) == {}
    assert cohorts_of(grouped("", "", "")) == {}
    assert cohorts_of(grouped("a/large", "a/large", "b/small", "b/small")) == {("a", ""): {0, 1}, ("b", ""): {2, 3}}
    assert cohorts_of(grouped("/large", "/large", "/small")) == {("", "large"): {0, 1}}


def test_what_is_looked_at_is_bounded_and_strata_without_a_name_of_their_own_are_nobodys():
    many = grouped(*(f"z{at // 2:02}" for at in range(2 * STRATA_MAX - 2)))
    found = cohorts_of(many)
    assert len(found) == COHORTS_MAX
    last = Counts(strata=many.strata, groups=(Group(STRATA_MAX - 1, 0, ("n1",)), Group(STRATA_MAX - 1, 0, ("n2",))))
    assert cohorts_of(last) == {}


def test_before_anything_is_known_nothing_is_named():
    assert deviations(Counts(), Past(), Learned(), START_MS) == ()
    one = Play(fleet=ZONES, seconds=1)
    assert deviations(one.run().counts, Past(), Learned(), START_MS) == ()


def test_counts_are_only_read():
    counts = Play(fleet=ZONES, seconds=30, times=lambda _: ZONES.times(20.0, IN_Y, [ERRORS])).run().counts
    before = [part.copy() for part in (counts.canary, counts.others, counts.controls, counts.cold, counts.members)]
    deviations(counts, quiet(ZONES), Learned(), START_MS + 30_000)
    after = (counts.canary, counts.others, counts.controls, counts.cold, counts.members)
    assert all((old == new).all() for old, new in zip(before, after, strict=True))


def test_words_are_few():
    counts = Play(fleet=ZONES, seconds=120, times=lambda _: ZONES.times(20.0, IN_Y, [ERRORS])).run().counts
    (told,) = deviating_of(Drift(past=quiet(ZONES), counts=counts), START_MS + 120_000)
    assert told.startswith("zone y: 2.")
    assert " % errors, elsewhere 0.1 %" in told


def test_slow_requests_are_told_in_milliseconds():
    counts = Play(fleet=ZONES, times=lambda _: ZONES.times(3.0, IN_Y, [FIRST_SLOW + 3])).run().counts
    past = replace(quiet(ZONES), edges=(40, 44, 48, 52, 56, 60))
    (told,) = deviating_of(Drift(past=past, counts=counts), START_MS + 120_000)
    assert told == f"zone y: 15.0 % slower than {1_000 * UPPER_EDGES_S[52]:.0f} ms, elsewhere 5.0 %"


def judged(run: Run, seconds: int) -> Iterator[Verdict]:
    """Verdicts of a rollout, second by second."""
    state = SubjectJudgement()
    for second in run.prelude():
        pane = second.pane(state.drift.past.edges)
        if second.context.placement:
            state, _ = verdicts.judge(state, second.context, pane, second.clock_ms)
        else:
            state = verdicts.learn(state, pane)
    for second in run.rollout(seconds):
        state, verdict = verdicts.judge(state, second.context, second.pane(state.drift.past.edges), second.clock_ms)
        yield verdict


def episode(canaries: int, fault: Fault | None = None) -> Run:
    past = SimPast(nodes=20, quiet_s=600, lasts_s=600)
    world = Episode(world=WORLDS["everything"], canaries=canaries, others=20, hours=1.0, history_s=600, past=past, fault=fault)
    return Run(world, np.random.default_rng([7, canaries]))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(FaultKind.ERRORS, 0.05, onset_s=60, zones=("b",)), "errors"),
        (Fault(FaultKind.LATENCY, 0.5, onset_s=60, zones=("b",)), "slower than"),
    ],
)
@pytest.mark.thorough
def test_a_fault_of_one_zone_of_a_simulated_fleet_is_named_in_the_verdict(fault, words):
    found = [verdict.deviating for verdict in judged(episode(20, fault), 150)]
    assert not any(found[:60])
    told = {words for one in found for words in one}
    assert told
    assert all(one.startswith("zone b: ") and words in one for one in told)


@pytest.mark.thorough
def test_in_an_hour_of_a_healthy_fleet_nothing_is_named():
    assert not [verdict.deviating for verdict in judged(episode(12), 3_600) if verdict.deviating]
