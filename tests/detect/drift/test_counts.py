"""Counts: who is compared with whom, what cancels, and whose luck never decides."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.detect.drift.kit import ERRORS, FIRST_SLOW, START_MS, Fleet, Play, during, placed, quiet, second

from tidegate.detect.drift import layout
from tidegate.detect.drift.arrays import pack, unpack
from tidegate.detect.drift.counts import update
from tidegate.detect.drift.layout import Counts, cells
from tidegate.detect.drift.learned import AGES_S, Learned
from tidegate.detect.drift.metrics import COUNT, METRICS
from tidegate.detect.drift.onsets import EARLY
from tidegate.detect.drift.seconds import WARM, Kind
from tidegate.detect.drift.weigh import weigh

SLOW = range(FIRST_SLOW, COUNT)
CURVE = {metric: tuple(1.0 + 5.0 * float(np.exp(-age / 15.0)) for age in AGES_S) for metric in METRICS}


def age(at: int) -> float:
    return at + 1.0


def exposure(counts: Counts, *, cold: bool) -> tuple[float, float]:
    """Requests that counted, of canaries and of what they are compared with, in one of the channels."""
    width, size = len(counts.strata), len(counts.groups)
    rows, at = (slice(0, size), slice(0, width)) if cold else (slice(size, None), slice(width, None))
    others = counts.others[1, at, ERRORS].sum() + (0.0 if cold else counts.controls[1, :, ERRORS].sum())
    return float(counts.canary[1, rows, ERRORS].sum()), float(others)


# Strata.


@pytest.mark.parametrize("canaries", [1, 5])
@pytest.mark.parametrize("size", [1.5, 1.9, 3.0, 8.0])
@pytest.mark.parametrize("metrics", [(ERRORS,), tuple(SLOW)])
def test_an_incident_of_one_zone_cancels_whether_its_gate_shuts_or_not(canaries, size, metrics):
    """All canaries stand in zone x, so they have it all; of the fleet a third has it."""
    fleet = Fleet(canaries=canaries, controls=3, rest=30, zones=3, together=True)
    seen = fleet.times(size, fleet.where(zone="x"), metrics)
    played = Play(fleet=fleet, seconds=240, every=5, times=during(30, 230, seen)).run()
    assert not played.rolled_back
    assert not played.paused


def test_a_canary_of_a_stratum_where_nobody_runs_the_old_version_is_not_counted():
    fleet = Fleet(canaries=2, controls=0, rest=1, zones=2)
    played = Play(fleet=fleet, seconds=30).run()
    size = len(played.counts.groups)
    alone = [place for place, group in enumerate(played.counts.groups) if played.counts.strata[group.stratum] == "y"]
    assert played.counts.canary[1, size + alone[0]].sum() == 0
    assert played.counts.canary[1].sum() > 0


def test_strata_beyond_the_last_share_it(monkeypatch):
    monkeypatch.setattr(layout, "STRATA_MAX", 3)
    fleet = Fleet(canaries=4, controls=4, rest=12, zones=4)
    played = Play(fleet=fleet, seconds=30).run()
    assert len(played.counts.strata) == 3
    assert exposure(played.counts, cold=False)[0] == pytest.approx(30 * 50 * 4, rel=0.01)


def test_an_incident_of_a_zone_that_comes_after_twenty_canaries_cancels_too():
    class Late(Fleet):
        @property
        def strata(self) -> tuple[str, ...]:
            return ("x",) * 20 + ("y",) * 20 + ("x", "y") * 22

    fleet = Late(canaries=40, controls=4, rest=40)
    incident = fleet.times(3.0, np.array(fleet.strata) == "y")
    past = quiet(Fleet(canaries=40, controls=4, rest=40), 6)
    assert not Play(fleet=fleet, past=past, seconds=150, every=10, times=during(60, 150, incident)).run().rolled_back


# Both sides or none.


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_a_second_counts_on_both_sides_or_on_none(data):
    """Whoever is silent, and whatever is gated: cell by cell and metric by metric, what is added has two sides."""
    fleet = Fleet(canaries=4, controls=4, rest=6, zones=2)
    silent = [data.draw(st.sets(st.sampled_from(fleet.nodes))) for _ in range(12)]
    burst = data.draw(st.sampled_from([1.0, 30.0]))
    cold_s = data.draw(st.sampled_from([5.0, 60.0]))
    counts, learned = Counts(), Learned(cold_s=cold_s)
    past = quiet(fleet)
    for at in range(12):
        times = fleet.times(burst, fleet.where(zone="x")) if at > 3 else 1.0
        before = counts
        counts = update(
            counts, past, learned, second(fleet, at, times=times, age_s=age(at), without=tuple(silent[at])), placed(fleet)
        )
        if len(before.groups) != len(counts.groups) or before.strata != counts.strata:
            continue
        inside, width = cells(counts), len(counts.strata)
        mine = inside @ (counts.canary[1] - before.canary[1])
        theirs = counts.others[1] - before.others[1]
        theirs[width:] += counts.controls[1] - before.controls[1]
        assert np.array_equal(mine > 0, theirs > 0)


def test_who_has_no_histogram_counts_for_errors_only():
    fleet = Fleet()
    counts = Counts()
    for at in range(5):
        one = second(fleet, at)
        requests = one.requests.copy()
        requests[fleet.where(Kind.CANARY), FIRST_SLOW:] = 0.0
        events = one.events.copy()
        events[fleet.where(Kind.CANARY), FIRST_SLOW:] = 0.0
        counts = update(counts, quiet(fleet), Learned(), replace(one, requests=requests, events=events), placed(fleet))
    assert counts.canary[1, :, ERRORS].sum() > 0
    assert counts.canary[1, :, FIRST_SLOW:].sum() == counts.others[1, :, FIRST_SLOW:].sum() == 0


# Age.


def test_while_cold_a_canary_is_compared_with_controls_of_its_age_and_then_with_everybody():
    fleet = Fleet(canaries=5, controls=5, rest=20)
    cold = Play(fleet=fleet, seconds=100, ages=age).run().counts
    assert exposure(cold, cold=True) == pytest.approx((100 * 250, 100 * 250), rel=0.01)
    assert exposure(cold, cold=False) == (0.0, 0.0)
    warm = Play(fleet=fleet, seconds=100, ages=lambda at: 200.0 + at).run().counts
    assert exposure(warm, cold=True) == (0.0, 0.0)
    assert exposure(warm, cold=False) == pytest.approx((100 * 250, 100 * 1_250), rel=0.01)


@pytest.mark.parametrize(("apart_s", "compared"), [(0, True), (2, True), (60, False)])
def test_a_control_that_restarted_much_earlier_is_of_another_age(apart_s, compared):
    fleet = Fleet(canaries=3, controls=3, rest=10)

    def ages(at: int) -> np.ndarray:
        return np.where(fleet.where(Kind.CANARY), at + 1.0, at + 1.0 + apart_s)

    found = Play(fleet=fleet, seconds=20, ages=ages).run().counts
    assert (exposure(found, cold=True)[0] > 0) == compared


def test_a_cold_start_that_both_sides_have_is_nobodys_fault():
    fleet = Fleet(canaries=5, controls=5, rest=20)
    started = fleet.where(Kind.CANARY, Kind.CONTROL)

    def times(at: int) -> np.ndarray:
        return fleet.times(1.0 + 5.0 * float(np.exp(-at / 15.0)), started)

    played = Play(fleet=fleet, seconds=240, ages=age, times=times, rng=np.random.default_rng(10)).run()
    assert not played.rolled_back
    assert not played.paused


def test_without_controls_a_service_whose_cold_start_nobody_knows_waits_until_it_is_over():
    fleet = Fleet(canaries=5, controls=0, rest=20)
    sick = fleet.times(30.0, fleet.where(Kind.CANARY))
    played = Play(fleet=fleet, seconds=110, ages=age, times=lambda _: sick).run()
    assert not played.rolled_back
    assert exposure(played.counts, cold=True) == (0.0, 0.0)
    later = Play(fleet=fleet, seconds=60, ages=age, times=lambda _: sick).run(played.counts, begin=110)
    assert later.rolled_back


@pytest.mark.parametrize("controls", [0, 1, 2])
def test_with_few_controls_a_known_cold_start_is_allowed_for_beside_the_whole_fleet(controls):
    fleet = Fleet(canaries=5, controls=controls, rest=20)

    def times(at: int) -> np.ndarray:
        return fleet.times(1.0 + 5.0 * float(np.exp(-at / 15.0)), fleet.where(Kind.CANARY, Kind.CONTROL))

    play = Play(fleet=fleet, seconds=150, ages=age, learned=Learned(curve=CURVE, cold_s=90.0, restarts=40))
    healthy = replace(play, times=times).run()
    assert not healthy.rolled_back
    assert exposure(healthy.counts, cold=False)[0] > 0
    sick = fleet.times(8.0, fleet.where(Kind.CANARY))
    assert replace(play, times=lambda at: times(at) * sick).run().rolled_back


def test_controls_that_come_a_second_after_their_canary_are_still_those_of_its_zone():
    fleet = Fleet(canaries=1, controls=3, zones=3)
    incident = fleet.times(4.0, fleet.where(zone="x"))
    starting = [f"k{place:03}" for place in range(3)]
    play = Play(fleet=fleet, ages=age, seconds=119, every=1, times=during(10, 119, incident))
    assert not play.run().rolled_back
    assert not replace(play, without=lambda at: starting if at < 1 else ()).run().rolled_back


# Rows and stages.


def test_canaries_beyond_twenty_share_rows_of_their_own_stratum_and_none_is_lost():
    fleet = Fleet(canaries=50, controls=5, rest=20, zones=3)
    played = Play(fleet=fleet, past=quiet(fleet, 2), seconds=20).run().counts
    assert len(played.groups) == layout.GROUPS_MAX
    assert sorted(name for group in played.groups for name in group.nodes) == sorted(fleet.nodes[:50])
    zone = dict(zip(fleet.nodes, fleet.strata, strict=True))
    for group in played.groups:
        assert {zone[name] for name in group.nodes} == {played.strata[group.stratum]}
    sizes = [len(group.nodes) for group in played.groups]
    assert max(sizes) - min(sizes) <= 1
    assert exposure(played, cold=False)[0] == pytest.approx(20 * 50 * 50, rel=0.01)


def test_a_stage_begins_with_its_first_new_canary_and_its_own_onsets():
    fleet = Fleet(canaries=10, controls=5, rest=20)
    later = fleet.nodes[5:10]
    play = Play(
        fleet=fleet, seconds=400, every=50, without=lambda at: later if at < 200 else (), placement=lambda at: f"p{at // 190}"
    )
    found = play.run().counts
    assert found.stage == 2
    assert (found.first_ms, found.stage_ms) == (START_MS, START_MS + 200_000)
    second_ones = {onset.start_ms - found.stage_ms for onset in found.onsets if onset.early == 2}
    assert second_ones == {1_000 * at for at, _ in EARLY if at < 200}


def test_a_placement_that_brings_no_new_canary_is_no_stage():
    played = Play(seconds=60, placement=lambda at: f"p{at // 20}").run()
    assert (played.counts.stage, played.counts.stage_ms) == (1, START_MS)


def test_all_stages_of_a_rollout_share_one_budget():
    """Of whatever placements follow each other, the masses of all onsets that began sum to at most one."""
    fleet = Fleet(canaries=12, controls=3, rest=6)
    begun = {}
    play = Play(
        fleet=fleet,
        seconds=1,
        without=lambda at: fleet.nodes[1 + at // 70 : 12],
        placement=lambda at: f"p{at // 70}",
    )
    counts = Counts()
    for at in range(70 * 12):
        counts = play.run(counts, begin=at).counts
        begun |= {(onset.start_ms, onset.early): onset.mass for onset in counts.onsets}
    assert counts.stage == 12
    assert 0.5 < sum(begun.values()) <= 1.0 + 1e-9


def test_what_is_kept_of_a_rollout_is_bounded():
    """Two hours, four stages, forty canaries: no more than an hour of one."""
    fleet = Fleet(canaries=40, controls=20, rest=20, zones=3)

    def size(counts: Counts) -> int:
        return len(msgspec.msgpack.encode(counts, enc_hook=pack))

    counts, past, sizes = Counts(), quiet(fleet), []
    for at in range(0, 7_200, 60):  # a look each minute begins the same onsets
        for step in (0, 1):
            one = second(fleet, at + step, without=fleet.nodes[10 * (1 + at // 1_800) : 40])
            counts = update(counts, past, Learned(), one, placed(fleet, f"p{at // 1_800}"))
        sizes.append(size(counts))
    assert max(sizes[60:]) < 1.3 * max(sizes[:60])
    assert max(sizes) < 400_000


# Influence.


@pytest.mark.parametrize("canaries", [3, 5, 20, 30])
@given(size=st.floats(2.0, 1e6), cold=st.booleans(), metrics=st.sampled_from([(0, 1), tuple(SLOW), tuple(range(COUNT))]))
@settings(max_examples=3, deadline=None)
def test_one_bad_canary_of_three_or_more_never_rolls_back_however_bad(canaries, size, cold, metrics):
    fleet = Fleet(canaries=canaries, controls=5, rest=20)
    bad = fleet.times(size, np.array(fleet.nodes) == "c001", metrics)
    played = Play(fleet=fleet, seconds=100, every=10, times=lambda _: bad, ages=age if cold else lambda _: WARM).run()
    assert not played.rolled_back


def test_two_bad_canaries_of_five_are_a_regression():
    fleet = Fleet()
    bad = fleet.times(20.0, np.isin(fleet.nodes, ["c001", "c003"]))
    assert Play(fleet=fleet, seconds=60, times=lambda _: bad).run().rolled_back


def test_one_bad_canary_of_five_is_a_pause():
    fleet = Fleet()
    bad = fleet.times(20.0, np.isin(fleet.nodes, ["c001"]))
    assert Play(fleet=fleet, seconds=60, times=lambda _: bad).run().paused


@pytest.mark.parametrize("begin", [100, 230])
def test_half_a_minute_of_a_lone_canary_never_rolls_back(begin):
    fleet = Fleet(canaries=1, controls=1)
    bad = fleet.times(5.0, fleet.where(Kind.CANARY))
    assert not Play(fleet=fleet, seconds=begin + 60, every=2, times=during(begin, begin + 20, bad)).run().rolled_back


@pytest.mark.parametrize(
    ("begin", "metrics"), [(at, tuple(range(COUNT))) for at in (20, 40, 47, 75, 100, 135, 200)] + [(10, (ERRORS,))]
)
def test_half_a_minute_of_a_lone_canary_never_rolls_back_however_bad_and_whenever_it_begins(begin, metrics):
    fleet = Fleet(canaries=1, controls=1)
    bad = fleet.times(100.0, fleet.where(Kind.CANARY), metrics)
    assert not Play(fleet=fleet, seconds=begin + 60, every=1, times=during(begin, begin + 20, bad)).run().rolled_back


def test_what_lasts_longer_than_half_a_minute_does_roll_back_a_lone_canary():
    fleet = Fleet(canaries=1, controls=1)
    bad = fleet.times(20.0, fleet.where(Kind.CANARY))
    assert Play(fleet=fleet, seconds=200, times=during(100, 200, bad)).run().rolled_back


@pytest.mark.parametrize("comes", ["c001", "r019"])
def test_an_incident_that_was_left_out_stays_left_out_when_another_node_comes(comes):
    """A second canary, or a server of a stratum not seen before."""

    class Growing(Fleet):
        @property
        def strata(self) -> tuple[str, ...]:
            return (*("x",) * (len(self.nodes) - 1), "new" if comes == "r019" else "x")

    fleet = Growing(canaries=2 if comes == "c001" else 1, controls=1)
    bad = fleet.times(60.0, np.array(fleet.nodes) == "c000")
    play = Play(
        fleet=fleet,
        past=quiet(Fleet(canaries=fleet.canaries, controls=1)),
        seconds=260,
        times=during(100, 120, bad),
        without=lambda at: [comes] if at < 200 else [],
        placement=lambda at: f"p{at // 200}",
    )
    assert not play.run().rolled_back


# Controls that are warm again.


def test_warm_controls_stand_with_the_fleet_and_are_kept_apart_so_that_they_can_be_compared_with_it():
    fleet = Fleet(canaries=5, controls=6, rest=20)
    found = Play(fleet=fleet, seconds=40, ages=lambda at: 500.0 + at).run().counts
    width = len(found.strata)
    assert found.controls[1, :, ERRORS].sum() == pytest.approx(40 * 50 * 6, rel=0.01)
    assert found.others[1, width:, ERRORS].sum() == pytest.approx(40 * 50 * 20, rel=0.01)
    assert np.allclose(found.checks.sum(axis=1), found.controls.sum(axis=1))
    assert (found.checks[1, :, ERRORS] > 0).all()


def test_a_fleet_of_which_only_controls_are_left_is_compared_with_them():
    fleet = Fleet(canaries=20, controls=5, rest=0)
    sick = fleet.times(8.0, fleet.where(Kind.CANARY))
    played = Play(fleet=fleet, seconds=60, ages=lambda at: 500.0 + at, times=lambda _: sick).run()
    assert exposure(played.counts, cold=False)[0] > 0
    assert played.rolled_back
    assert not Play(fleet=fleet, seconds=120, ages=lambda at: 500.0 + at).run().paused


# State.


def frozen(counts: Counts) -> bytes:
    return msgspec.msgpack.encode(counts, enc_hook=pack)


@pytest.mark.parametrize("fleet", [Fleet(), Fleet(canaries=1, controls=1), Fleet(canaries=25, controls=5, zones=3)])
def test_a_state_restored_from_bytes_goes_on_bit_for_bit(fleet):
    rng = np.random.default_rng(11)
    play = Play(fleet=fleet, seconds=70, ages=age, rng=rng, learned=Learned(cold_s=30.0))
    half = play.run().counts
    restored = msgspec.msgpack.decode(frozen(half), type=Counts, dec_hook=unpack)
    assert frozen(restored) == frozen(half)
    ends = []
    for state in (half, restored):
        again = replace(play, rng=np.random.default_rng(12), without=lambda at: fleet.nodes[-2:] if at % 3 else ())
        played = again.run(state, begin=70)
        ends.append((frozen(played.counts), [weighed.families for weighed in played.weighed]))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("fleet", [Fleet(), Fleet(canaries=1, controls=1), Fleet(canaries=25, controls=5, zones=3)])
def test_update_changes_nothing_that_it_was_given(fleet):
    play = Play(fleet=fleet, seconds=50, ages=age, learned=Learned(cold_s=30.0), rng=np.random.default_rng(13))
    counts, past = play.run().counts, quiet(fleet)
    one = second(fleet, 50, times=20.0, age_s=51.0, without=fleet.nodes[:1], rng=np.random.default_rng(14))

    def told() -> list[bytes]:
        return [msgspec.msgpack.encode(part, enc_hook=pack) for part in (counts, past, one)]

    before = told()
    first = update(counts, past, play.learned, one, placed(fleet, "p2"))
    weigh(first, past, play.learned, one.end_ms)
    assert told() == before
    assert frozen(update(counts, past, play.learned, one, placed(fleet, "p2"))) == frozen(first)


def test_before_the_first_canary_speaks_nothing_has_begun():
    fleet = Fleet()
    counts = update(Counts(), quiet(fleet), Learned(), second(fleet, 0, without=fleet.nodes[:5]), placed(fleet))
    assert (counts.stage, counts.groups, counts.onsets) == (0, (), ())
    counts = update(counts, quiet(fleet), Learned(), second(fleet, 1, without=fleet.nodes), placed(fleet))
    assert counts.stage == 0
