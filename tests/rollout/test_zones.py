"""Waves of zones within one rollout: no node of a later wave before all of the earlier ones (B1, D7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.rollout.fleet import SHOP, Fleet, artifact, plan

from tidegate.rollout.roster import in_order, wave_ends
from tidegate.rollout.stages import sizes
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Rollback, Stage, faults
from tidegate.wire.reasons import Reason

WAVES = (("z1",), ("z0", "z2"))
"""Of the three zones that the nodes of a fleet are in by turns."""


def stages(*first: Stage) -> tuple[Stage, ...]:
    bake = {"bake": "5s", "min_requests": 10}
    return (*first, *(Stage(set_wave=number, **bake) for number in (1, 2)), Stage(set_weight=100, **bake))


def regional(version: str = "2", before: str | None = "1", **fields):
    known = {"waves": WAVES, "max_unavailable": "100%", "stages": stages(Stage(set_nodes=1, bake="5s", min_requests=10))}
    return plan(version, before, **(known | fields))


def zones_on(fleet: Fleet, version: str) -> set[str]:
    return {fleet.nodes[node].zone for node in fleet.on(version)}


def test_a_wave_of_zones_is_reached_whole_before_the_next_begins():
    fleet = Fleet(nodes=12)
    fleet.install()
    fleet.join("far", "z9")
    fleet.submit(plan("1b", "1", id="again"))
    fleet.until(Phase.DONE)
    fleet.submit(regional("2", "1b"))
    seen = []
    while fleet.state().phase is not Phase.DONE:
        fleet.turn()
        now = (fleet.state().stage, sorted(zones_on(fleet, "2")), len(fleet.on("2")))
        if now not in seen:
            seen.append(now)
    assert fleet.ledger.rosters[SHOP].waves == (4, 12)
    assert [one for one in seen if one[0] == 0 and one[2]] == [(0, ["z1"], 1)]
    assert {tuple(zones) for stage, zones, _ in seen if stage == 1} == {("z1",)}
    assert (2, ["z0", "z1", "z2"], 12) in seen
    assert seen[-1] == (3, ["z0", "z1", "z2", "z9"], 13)
    fleet.check_rebuilt()


def test_a_bad_release_never_leaves_its_first_wave():
    fleet = Fleet(nodes=12)
    fleet.install()
    fleet.submit(regional())
    fleet.until_stage(1)
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE)
    given_it = {node for one in fleet.decisions if one.kind is DecisionKind.RELEASE for node in one.facts["batch"]}
    assert {fleet.nodes[node].zone for node in given_it if ("2", "to-2.1") in fleet.nodes[node].starts} == {"z1"}
    assert zones_on(fleet, "1") == {"z0", "z1", "z2"}


def test_with_a_share_the_last_wave_goes_back_first():
    fleet = Fleet(nodes=12)
    fleet.install()
    fleet.submit(replace(regional(), rollback=Rollback(artifact=artifact("1"), max_unavailable="4")))
    fleet.until_stage(2)
    fleet.judge(Outcome.FAIL)
    left = []
    while fleet.state().phase is not Phase.DONE:
        fleet.turn()
        left.append(zones_on(fleet, "2"))
    assert left == [{"z0", "z1", "z2"}, {"z1"}, set()]


def test_nobody_is_compared_with_another_wave():
    found = [sizes(regional(), at, 24, (4, 24)) for at in range(4)]
    assert [(one.canary, one.control) for one in found] == [(1, 1), (4, 0), (24, 0), (24, 0)]


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=30))
def test_the_order_is_by_wave_and_the_counts_are_its_borders(zones):
    fleet = Fleet(nodes=0)
    for number, zone in enumerate(zones):
        fleet.join(f"n{number}", zone)
    waves = (("c",), ("a", "b"))
    order, ends = in_order("r.1", tuple(sorted(fleet.nodes)), fleet.view, waves), wave_ends(tuple(fleet.nodes), fleet.view, waves)
    told = [fleet.nodes[node].zone for node in order]
    assert [zone == "c" for zone in told] == [at < ends[0] for at in range(len(told))]
    assert [zone in "abc" for zone in told] == [at < ends[1] for at in range(len(told))]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"waves": ()}, ("stages[1].setWave", "is 1; the plan has 0 waves")),
        ({"waves": (("a",), ("b", "a"))}, ("waves[1][1]", "zone a is in waves[0][0] already")),
        ({"stages": stages(Stage(set_wave=2))}, ("stages[1].setWave", "must exceed the stage before it (2); a stage only grows")),
        (
            {"stages": stages(Stage(set_wave=1, set_nodes=1))},
            ("stages[0]", "give exactly one of setNodes, setWave and setWeight"),
        ),
    ],
)
def test_faults_of_waves_are_named(fields, fault):
    assert fault in faults(regional(**fields))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"waves": (("z1",), ("mars",))}, "waves[1]: no eligible node is in mars"),
        ({"stages": stages(Stage(set_nodes=6))}, "stages[1]: 4 of 12 eligible nodes, fewer than the 6 of the stage before it"),
    ],
)
def test_waves_that_do_not_fit_the_fleet_are_refused(fields, told):
    fleet = Fleet(nodes=12)
    fleet.install()
    (refused,) = fleet.submit(regional(**fields))
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.BAD_DOCUMENT)
    assert told in refused.message
