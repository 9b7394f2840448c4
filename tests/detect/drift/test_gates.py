"""Gates: what says nothing about a release is left out, and what says something is not."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.detect.drift.kit import Fleet, Play, during

from tidegate.detect.drift import gates
from tidegate.detect.drift.gates import Gates, Who, counted, look
from tidegate.detect.drift.metrics import COUNT
from tidegate.detect.drift.past import Past
from tidegate.detect.drift.seconds import Kind

FLEET = Fleet(canaries=5, controls=5, rest=20, zones=3)
DUE = 5.0
"""Events a node and second: enough for the law of large numbers to be no matter here."""


def who(fleet: Fleet, *, cold: bool = False) -> Who:
    return Who(
        fleet.nodes,
        np.array([1 + "xyz".index(stratum) for stratum in fleet.strata]),
        fleet.kinds == Kind.CANARY,
        fleet.kinds == Kind.CONTROL,
        ~fleet.where(Kind.REST) if cold else np.zeros(len(fleet.nodes), dtype=np.bool_),
    )


def watched(
    fleet: Fleet, times, seconds: int, *, cold: bool = False, known: float = 1.0, before: Gates | None = None, due: float = DUE
):
    """Gates after some seconds of events in clockwork, and which nodes counted in the last of them."""
    found = before or Gates(strata=np.zeros((2 + fleet.zones, 4, COUNT)))
    everyone = who(fleet, cold=cold)
    owed = np.full((len(fleet.nodes), COUNT), due)
    for at in range(seconds):
        events = owed * np.broadcast_to(times(at) if callable(times) else times, owed.shape)
        found = look(found, everyone, (events, owed, np.full_like(owed, known)))
    return found, counted(found, everyone).astype(bool)


def nodes(*names: str) -> np.ndarray:
    return np.isin(FLEET.nodes, names)


ALL, NONE = FLEET.where(), np.zeros(30, dtype=np.bool_)
CANARIES, CONTROLS, REST = (FLEET.where(kind) for kind in Kind)


@pytest.mark.parametrize(
    ("trouble", "cold", "left_out"),
    [
        (NONE, False, NONE),
        (ALL, False, ALL),  # a shared burst
        (REST | CONTROLS, False, ALL),  # who runs the old version is the weather
        (FLEET.where(zone="x"), False, FLEET.where(zone="x")),  # an incident of one zone
        ((REST | CONTROLS) & FLEET.where(zone="x"), False, FLEET.where(zone="x")),
        (nodes("r003"), False, nodes("r003")),  # of one server
        (nodes("k003"), False, NONE),  # of one side of the comparison: left out, it would be a bias
        (nodes("c003"), False, NONE),  # of one canary: it is left out later, and seen by the pause tier
        (CANARIES, False, NONE),  # a regression
        (nodes("c001", "c002"), False, NONE),  # also of a part of the canaries
        (CANARIES, True, NONE),
        (CONTROLS, True, NONE),  # a cold start is no weather
        (CANARIES | CONTROLS, True, NONE),
        (nodes("c003"), True, NONE),
        (nodes("k003"), True, NONE),
    ],
)
def test_a_gate_shuts_for_those_who_say_nothing_about_the_release_and_for_nobody_else(trouble, cold, left_out):
    _, counts = watched(FLEET, FLEET.times(3.5, trouble), 8, cold=cold)
    assert np.array_equal(counts, np.repeat(~left_out[:, None], COUNT, axis=1))


@pytest.mark.parametrize("rest", [1, 2])
def test_of_two_nobody_can_say_which_is_the_odd_one(rest):
    fleet = Fleet(canaries=3, controls=20, rest=rest)
    _, counts = watched(fleet, fleet.times(10.0, np.isin(fleet.nodes, ["r000"])), 8)
    assert counts.all()


@pytest.mark.parametrize(("metric", "family"), [(3, range(2, COUNT)), (0, range(2))])
def test_a_gate_is_of_one_family(metric, family):
    _, counts = watched(FLEET, FLEET.times(10.0, ALL, (metric,)), 8)
    assert np.array_equal(~counts.any(axis=0), np.isin(np.arange(COUNT), family))


def test_a_gate_holds_ten_seconds_after_the_last_hot_one_and_then_opens():
    fleet = FLEET
    burst = fleet.times(10.0, ALL)
    shut, counts = watched(fleet, burst, 8)
    open_after = next(seconds for seconds in range(1, 120) if watched(fleet, 1.0, seconds, before=shut)[1].all())
    # The trailing sum stays hot until the burst has faded from it.
    fades = np.log((2.0 - 1.0) / 9.0) / np.log(gates.TRAIL)
    assert gates.HOLD_S <= open_after <= gates.HOLD_S + fades + 2
    assert not counts.any()


def test_how_long_a_burst_has_lasted_is_known_and_a_gap_ends_it():
    burst = FLEET.times(10.0, ALL)
    found, _ = watched(FLEET, burst, 30)
    assert (found.burning_s >= 28).all()
    found, _ = watched(FLEET, 1.0, 60, before=found)
    assert (found.burning_s == 0).all()


def test_what_lasts_is_the_new_level_and_no_burst_any_more():
    worse = FLEET.times(2.5, ALL)
    found, counts = watched(FLEET, worse, 30)
    assert not counts.any()
    found, counts = watched(FLEET, worse, 1_800, before=found)
    assert counts.all()
    # And from there, a burst is what goes beyond it.
    _, counts = watched(FLEET, FLEET.times(2.5 * 4, ALL), 10, before=found)
    assert not counts.any()


def test_a_burst_of_a_minute_moves_the_level_little():
    found, _ = watched(FLEET, FLEET.times(20.0, ALL), 60)
    assert (found.strata[:, 3] < 1.3).all()


def test_a_server_without_history_may_be_twice_as_bad_as_others():
    fleet = FLEET
    odd = fleet.times(2.6, nodes("r003"))
    assert not watched(fleet, odd, 20)[1].all()
    assert watched(fleet, odd, 20, known=0.0)[1].all()


def test_of_few_events_many_times_what_was_due_is_still_chance():
    fleet = FLEET
    everyone = who(fleet)
    due = np.full((30, COUNT), 0.02)
    found = Gates(strata=np.zeros((5, 4, COUNT)))
    for at in range(300):
        events = np.zeros_like(due)
        events[at * 7 % 30] = 2.0 * (at % 2)
        found = look(found, everyone, (events, due, np.ones_like(due)))
        assert counted(found, everyone).all()


def test_gates_follow_their_nodes_when_others_come_and_go():
    fleet = FLEET
    shut, _ = watched(fleet, fleet.times(10.0, nodes("r003")), 8)
    fewer = Fleet(canaries=4, controls=4, rest=18, zones=3)
    everyone = who(fewer)
    due = np.full((len(fewer.nodes), COUNT), DUE)
    found = look(shut, everyone, (due, due, np.ones_like(due)))
    out = ~counted(found, everyone).astype(bool).all(axis=1)
    assert [name for name, mine in zip(fewer.nodes, out.tolist(), strict=True) if mine] == ["r003"]


@pytest.mark.parametrize("due", [0.0, 0.05, 0.5, 5.0, 50.0])
def test_events_of_a_second_are_capped_and_those_that_are_due_are_not(due):
    events = np.array([due, 2 * due, 1e6])
    found = gates.capped(events, np.full(3, due))
    assert found[:2].tolist() == events[:2].tolist()
    assert max(gates.CAP_MIN, 4 * due) <= found[2] <= max(gates.CAP_MIN, 2 + 4 * due)


# Within a rollout.


def test_a_service_without_a_past_has_no_gates():
    fleet = Fleet(canaries=5, controls=5, rest=20)
    times = during(20, 60, fleet.times(20.0, fleet.where()))
    blind = Play(fleet=fleet, past=Past(), seconds=60, times=times).run()
    known = Play(fleet=fleet, seconds=60, times=times).run()
    assert blind.counts.canary[1, 5:, 0].sum() == pytest.approx(60 * 50 * 5)
    assert known.counts.canary[1, 5:, 3].sum() < 0.5 * 60 * 50 * 5


def test_a_regression_of_all_canaries_counts_second_by_second():
    fleet = Fleet(canaries=5, controls=5, rest=20)
    healthy = Play(fleet=fleet, seconds=60).run()
    sick = Play(fleet=fleet, seconds=60, times=lambda _: fleet.times(8.0, fleet.where(Kind.CANARY))).run()
    assert np.allclose(sick.counts.canary[1], healthy.counts.canary[1])
    assert (sick.counts.canary[0, 5:, 0] > 5 * healthy.counts.canary[0, 5:, 0]).all()


def test_metrics_whose_rate_is_not_known_yet_have_no_gates():
    """Edges of slow requests were chosen in this very minute: there is no rate above them."""
    fleet = Fleet(canaries=5, controls=5, rest=20)
    past = Play(fleet=fleet, seconds=1).past_or_quiet()
    sums = past.sums.copy()
    sums[:, 2:COUNT] = 0.0
    sums[:, COUNT + 2] = 0.0
    past = replace(past, sums=sums)
    sick = Play(fleet=fleet, past=past, seconds=90, times=lambda _: fleet.times(8.0, fleet.where(Kind.CANARY), (6, 7))).run()
    assert sick.rolled_back
