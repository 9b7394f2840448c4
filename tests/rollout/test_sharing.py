"""Services that share nodes never change one node at once (B1, D7). Fleet checks it of every batch."""

import pytest
from hypothesis import Phase as Turn
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rollout.fleet import Fleet, artifact, plan

from tidegate.rollout.advance import blockers
from tidegate.rollout.roster import in_order
from tidegate.rollout.scene import scene_of
from tidegate.rollout.sharing import changing
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Stage
from tidegate.wire.reasons import Reason

SHOP, TILL = "svc/shop", "svc/till"


def shared(nodes: int = 12, zones: int = 3, kind: type[Fleet] = Fleet) -> Fleet:
    fleet = kind(nodes=nodes, services=("shop", "till"), zones=zones)
    for service in fleet.services:
        fleet.submit(plan("1", None, (Stage(set_weight=100, bake="0s"),), id=f"{service}-1", service=service, watch="1s"))
        fleet.until(Phase.DONE, subject=f"svc/{service}")
    return fleet


def both(fleet: Fleet, **fields) -> None:
    fleet.submit(plan("2", **fields))
    fleet.submit(plan("2", id="till-2", service="till", **fields))


def in_hand(fleet: Fleet) -> dict[str, list[str]]:
    """Node to the services whose change is under way on it, right now."""
    found: dict[str, list[str]] = {}
    for service in fleet.services:
        scene = scene_of(fleet.ledger, fleet.view, f"svc/{service}", fleet.now_ms)
        if scene is not None and scene.state.phase in (Phase.RUNNING, Phase.PAUSED):
            for node in changing(scene):
                found.setdefault(node, []).append(service)
    return found


def test_two_services_on_the_same_nodes_both_reach_everyone_one_after_the_other_on_each():
    fleet = shared()
    both(fleet)
    for _ in range(600):
        fleet.turn()
        assert all(len(services) == 1 for services in in_hand(fleet).values())
        if all(fleet.state(subject).phase is Phase.DONE for subject in (SHOP, TILL)):
            break
    assert set(fleet.versions("shop").values()) == set(fleet.versions("till").values()) == {"2"}


def test_who_began_later_waits_for_who_began_earlier_and_says_so():
    fleet = shared()
    both(fleet)
    fleet.until_stage(2)
    fleet.outcome = Outcome.HOLD
    fleet.ask(Verb.PROMOTE, TILL)
    fleet.judge(Outcome.PASS, TILL)
    for _ in range(60):
        fleet.judge(Outcome.PASS, TILL)
        fleet.turn()
    said = dict(blockers(fleet.ledger, fleet.view, TILL, fleet.now_ms))
    assert Reason.NODES_BUSY in said
    assert "to-2.1" in said[Reason.NODES_BUSY]
    assert Reason.NODES_BUSY not in dict(blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms))


def test_who_waits_for_another_rollout_misses_no_deadline():
    fleet = shared()
    both(fleet, progress_deadline="60s")
    fleet.until_stage(2)
    fleet.outcome = Outcome.HOLD
    for _ in range(120):
        fleet.judge(Outcome.PASS, TILL)
        fleet.turn()
    node = fleet.nodes[fleet.ledger.rosters[TILL].nodes[0]]
    node.running.pop("till")
    fleet.turn(5)
    assert fleet.state(TILL).phase is Phase.RUNNING
    fleet.outcome = Outcome.PASS
    fleet.until(Phase.DONE, subject=TILL)
    assert set(fleet.versions("till").values()) == {"2"}


def test_who_began_earlier_waits_for_a_change_under_way_on_a_node_and_for_nothing_else():
    fleet = shared()
    both(fleet)
    fleet.turn(3)
    canary = fleet.ledger.rosters[TILL].nodes[0]
    fleet.nodes[canary].slow.add("2")
    fleet.nodes[canary].running["till"] = artifact("1")
    fleet.until_stage(2, baking=False)
    fleet.turn(30)
    said = dict(blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms))
    assert canary in said[Reason.NODES_BUSY]
    assert "till-2.1" in said[Reason.NODES_BUSY]
    fleet.nodes[canary].slow.clear()
    fleet.until(Phase.DONE)
    assert set(fleet.versions("shop").values()) == {"2"}


def test_nobody_is_blamed_for_the_time_in_which_another_rollout_had_its_nodes():
    fleet = shared()
    both(fleet, progress_deadline="60s")
    fleet.until_stage(2)
    fleet.outcome = Outcome.HOLD
    for _ in range(120):
        fleet.judge(Outcome.PASS, TILL)
        fleet.turn()
    node = fleet.nodes[fleet.ledger.rosters[TILL].nodes[0]]
    node.slow.add("2")
    node.running.pop("till")
    fleet.turn(2)
    fleet.ask(Verb.ABORT)
    fleet.until(Phase.DONE)
    fleet.turn(50)
    assert fleet.state(TILL).phase is Phase.RUNNING
    fleet.turn(20)
    assert fleet.state(TILL).phase is not Phase.RUNNING


GROWING = (Stage(set_nodes=10, bake="5s"), Stage(set_weight=40, bake="5s"), Stage(set_weight=100, bake="5s"))
BY_ZONE = (Stage(set_wave=1, bake="5s"), Stage(set_weight=100, bake="5s"))


@pytest.mark.parametrize(
    ("nodes", "zones", "half", "fields"),
    [
        (40, 3, Stage(set_weight=50, bake="1h"), {"stages": GROWING}),
        (12, 12, Stage(set_wave=1, bake="1h"), {"stages": BY_ZONE, "waves": (("z3", "z4", "z5"), ("z0",))}),
    ],
    ids=["a stage shrinks", "a wave has no node"],
)
def test_a_plan_that_does_not_fit_the_nodes_that_others_leave_waits_for_those_that_they_hold(nodes, zones, half, fields):
    fleet = shared(nodes, zones)
    fleet.submit(plan("2", stages=(half, Stage(set_weight=100)), waves=(("z0",),), max_unavailable="100%"))
    fleet.until_stage(0)
    (queued,) = fleet.submit(plan("2", id="till-2", service="till", max_unavailable="100%", **fields))
    assert (queued.kind, queued.reason) == (DecisionKind.ACCEPT, Reason.PLAN_QUEUED)
    assert "eligible nodes take part in another rollout" in queued.message
    fleet.ask(Verb.ABORT, SHOP)
    fleet.until(Phase.DONE, subject=SHOP)
    assert fleet.state(TILL).phase is Phase.RUNNING
    assert len(fleet.ledger.rosters[TILL].nodes) == nodes


def test_a_plan_that_would_not_fit_the_whole_fleet_either_is_refused_though_others_hold_nodes():
    fleet = shared(40)
    fleet.submit(plan("2", stages=(Stage(set_weight=50, bake="1h"), Stage(set_weight=100)), max_unavailable="100%"))
    fleet.until_stage(0)
    stages = (Stage(set_nodes=10), Stage(set_weight=20), Stage(set_weight=100))
    (refused,) = fleet.submit(plan("2", id="till-2", service="till", stages=stages))
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.BAD_DOCUMENT)
    assert refused.message.startswith("stages[1]:")


@pytest.mark.parametrize("subject", [SHOP, TILL])
def test_a_rollback_waits_for_nobody_and_an_advance_waits_for_the_rollback(subject):
    fleet = shared()
    both(fleet)
    fleet.until_stage(1)
    fleet.judge(Outcome.FAIL, subject)
    assert fleet.state(subject).phase is Phase.ROLLING_BACK
    other = TILL if subject == SHOP else SHOP
    fleet.until(Phase.DONE, subject=other)
    assert set(fleet.versions(other.partition("/")[2]).values()) == {"2"}


@settings(deadline=None, max_examples=12, phases=(Turn.explicit, Turn.reuse, Turn.generate))
@given(st.data())
def test_whatever_happens_no_two_rollouts_wait_for_each_other(data):
    """Fleet checks each batch; at the end, with everyone well, all rollouts come to an end."""
    fleet = shared(data.draw(st.integers(4, 9)))
    subjects = (SHOP, TILL)
    for number in range(data.draw(st.integers(2, 6))):
        service = data.draw(st.sampled_from(fleet.services))
        settled = fleet.state(f"svc/{service}").settled
        fleet.submit(plan(f"{number + 2}", settled.version, id=f"p{number}", service=service, progress_deadline="60s"))
        fleet.turn(data.draw(st.integers(0, 40)))
        match data.draw(st.sampled_from(["nothing", "fail", "away", "abort"])):
            case "fail":
                fleet.judge(Outcome.FAIL, data.draw(st.sampled_from(subjects)))
            case "abort":
                fleet.ask(Verb.ABORT, data.draw(st.sampled_from(subjects)))
            case "away":
                node = fleet.nodes[data.draw(st.sampled_from(sorted(fleet.nodes)))]
                node.away = not node.away
    for node in fleet.nodes.values():
        node.away = False
    for subject in subjects:
        fleet.until(Phase.DONE, subject=subject, seconds=2_000)
    fleet.check_rebuilt()


def test_a_node_that_comes_back_while_another_rollout_holds_the_stage_has_as_long_to_fetch_as_the_others():
    """It was tolerated while it was away; in the second of its return it would have been overdue for twenty minutes."""
    fleet = shared(nodes=24)
    stages = (Stage(set_nodes=1, bake="10s", min_requests=10), Stage(set_weight=100, bake="10s", min_requests=10))
    fleet.submit(plan("2", stages=stages))
    fleet.submit(plan("2", id="till-2", service="till", stages=stages))
    away = fleet.nodes[fleet.ledger.rosters[TILL].nodes[-1]]
    away.away = True
    fleet.until_stage(1, baking=False)
    fleet.ask(Verb.PAUSE)
    fleet.turn(1_200)
    away.away = False
    fleet.turn(60)
    assert (fleet.state(TILL).phase, fleet.state(TILL).quarantined) == (Phase.RUNNING, ())


def test_releases_of_another_service_do_not_put_off_a_deadline_of_nodes_that_they_never_held():
    """A canary that cannot fetch waited for ever beside a service that is released all day (B5)."""
    fleet = shared(nodes=12)
    canary = in_order("to-2.1", tuple(fleet.nodes), fleet.view)[0]
    fleet.nodes[canary].unfetchable["2"] = "404"
    fleet.nodes[canary].services = ("shop",)
    fleet.submit(plan("2"))
    began_ms, version, stages = fleet.now_ms, 1, (Stage(set_weight=100, bake="10s", min_requests=10),)
    while fleet.state().phase is Phase.RUNNING and fleet.now_ms - began_ms < 1_800_000:
        if fleet.state(TILL).phase is Phase.DONE:
            version += 1
            fleet.submit(plan(str(version), str(version - 1), id=f"till-{version}", service="till", stages=stages, watch="5s"))
        fleet.turn()
    assert (fleet.state().result, version > 2) == (Result.ROLLED_BACK, True)
    assert fleet.now_ms - began_ms < 700_000
