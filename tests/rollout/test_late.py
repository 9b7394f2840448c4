"""Who is left over when the last stage has been given out: it goes in batches, or the rollout waits (B1, B4, B6, D7)."""

import pytest
from hypothesis import Phase as Turn
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.rollout.fleet import FLEET, SHOP, Fleet, plan, wake_at
from tests.rollout.test_sharing import TILL, shared

from tidegate.rollout.advance import blockers
from tidegate.rollout.levels import desired_of
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.plans import GateDefault, Pause, Stage
from tidegate.wire.reasons import Reason

EVERYONE = (Stage(set_weight=100, bake="10s", min_requests=10),)
ONE_FIRST = (Stage(set_nodes=1, bake="5s", min_requests=10), *EVERYONE)
HALF = (Stage(set_weight=50, bake="10s", min_requests=10), *EVERYONE)


class Guarded(Fleet):
    """A fleet in which nobody takes a version on trial that no batch has given to it."""

    def _act(self, node):
        before = {service: running.version for service, running in node.running.items()}
        super()._act(node)
        for service, running in node.running.items():
            state = self.state(f"svc/{service}")
            on_trial = state.phase in (Phase.RUNNING, Phase.PAUSED) and not state.watch_ms
            if on_trial and running.version != before.get(service) and state.settled not in (None, running):
                assert node.name in self.ledger.rosters[state.subject].nodes[: state.released]


@pytest.fixture
def fleet() -> Fleet:
    made = Guarded()
    made.install()
    return made


@pytest.fixture
def halved() -> Fleet:
    """Of twenty nodes ``shop`` holds ten in a paused stage; ``till`` has been brought to the other ten."""
    fleet = shared(20, kind=Guarded)
    fleet.submit(plan("2", stages=HALF, control="none", max_unavailable="100%"))
    fleet.until_stage(0)
    fleet.ask(Verb.PAUSE)
    fleet.submit(plan("2", id="till-2", service="till", stages=ONE_FIRST, max_unavailable="2", progress_deadline="60s"))
    for _ in range(60):
        fleet.turn()
        if fleet.state(TILL).released >= 10:
            break
    fleet.turn(3)
    return fleet


def on_till(fleet: Fleet, version: str = "2") -> set[str]:
    return {node for node, running in fleet.versions("till").items() if running == version}


def batches(fleet: Fleet, service: str = "shop", *, seconds: int = 600) -> list[int]:
    """Turn until a service's rollout is watched; return the sizes of all of its batches since now."""
    subject, since = f"svc/{service}", len(fleet.decisions)
    fleet.until(Phase.WATCHING, subject=subject, seconds=seconds)
    found = [one for one in fleet.decisions[since:] if (one.subject, one.kind) == (subject, DecisionKind.RELEASE)]
    return [len(one.facts["batch"]) for one in found if one.reason is not Reason.NEWCOMERS]


def told(fleet: Fleet, subject: str = SHOP) -> dict[Reason, str]:
    return dict(blockers(fleet.ledger, fleet.view, subject, fleet.now_ms))


# Held by another rollout


def test_what_another_rollout_holds_is_not_changed_and_the_rollout_says_what_it_waits_for(halved):
    held = {node for node, running in halved.versions("shop").items() if running == "2"}
    assert len(held) == 10
    halved.turn(600)
    assert on_till(halved) == set(halved.nodes) - held
    assert (halved.state(TILL).phase, halved.state(TILL).baking_since_ms) == (Phase.RUNNING, 0)
    assert "to-2.1 has them in hand" in told(halved, TILL)[Reason.NODES_BUSY]
    assert desired_of(halved.ledger, TILL, 1, FLEET).newcomers is None


@pytest.mark.parametrize("verb", [Verb.RESUME, Verb.ABORT])
def test_once_it_is_let_go_it_is_taken_in_by_batches_and_baked_with_everyone(halved, verb):
    halved.turn(100)
    halved.ask(verb)
    assert batches(halved, "till") == [2] * 5
    assert set(halved.ledger.rosters[TILL].nodes) == set(halved.nodes)
    (extended,) = [one for one in halved.decisions if one.reason is Reason.NEWCOMERS]
    assert (extended.kind, len(extended.facts["late_joiners"])) == (DecisionKind.RELEASE, 10)
    bake = max(one.now_ms for one in halved.decisions if one.subject == TILL and one.kind is DecisionKind.BAKE)
    assert bake > extended.now_ms
    halved.until(Phase.DONE, subject=TILL)
    halved.until(Phase.DONE)
    assert on_till(halved) == set(halved.nodes)
    halved.check_rebuilt()


def test_waiting_for_another_rollout_uses_up_no_deadline(halved):
    halved.turn(600)
    node = halved.nodes[halved.ledger.rosters[TILL].nodes[0]]
    halved_version = node.running.pop("till")
    halved.turn(30)
    assert halved.state(TILL).phase is Phase.RUNNING
    node.running["till"] = halved_version
    halved.ask(Verb.RESUME)
    halved.until(Phase.WATCHING, subject=TILL)


def test_a_node_that_stays_unready_meanwhile_meets_the_deadline_all_the_same(halved):
    halved.turn(600)
    node = halved.nodes[halved.ledger.rosters[TILL].nodes[0]]
    node.running.pop("till")
    node.slow.add("2")
    halved.turn(65)
    assert [one.reason for one in halved.decisions if one.kind is DecisionKind.ROLLBACK] == [Reason.DEADLINE]


def test_whoever_is_let_go_by_a_cordon_is_waited_for_no_more(halved):
    for node, running in halved.versions("shop").items():
        if running == "2":
            halved.ask(Verb.CORDON, "svc/fleet", target=node)
    halved.until(Phase.WATCHING, subject=TILL, seconds=60)


def test_a_plan_that_expired_while_it_waited_goes_no_further_and_says_so():
    fleet = shared(20, kind=Guarded)
    fleet.submit(plan("2", stages=HALF, control="none", max_unavailable="100%"))
    fleet.until_stage(0)
    fleet.ask(Verb.PAUSE)
    expires_ms = fleet.now_ms + 120_000
    fleet.submit(plan("2", id="till-2", service="till", stages=ONE_FIRST, max_unavailable="2", expires_ms=expires_ms))
    fleet.turn(200)
    assert fleet.state(TILL).phase is Phase.RUNNING
    fleet.ask(Verb.ABORT)
    fleet.until(Phase.PAUSED, subject=TILL, seconds=30)
    assert fleet.state(TILL).paused_reason is Reason.EXPIRED
    assert len(on_till(fleet)) == 10
    assert fleet.ask(Verb.RESUME, TILL).reason is Reason.EXPIRED


def test_two_rollouts_whose_last_stages_want_each_others_nodes_both_end():
    """Each has half of the fleet, and each wants the other half."""
    fleet = shared(12, kind=Guarded)
    for name in list(fleet.nodes)[6:]:
        fleet.nodes[name].away = True
    fleet.turn(95)
    fleet.submit(plan("2", stages=EVERYONE))
    fleet.turn(2)
    for number, node in enumerate(fleet.nodes.values()):
        node.away = number < 6
    fleet.turn(95)
    fleet.submit(plan("2", id="till-2", service="till", stages=EVERYONE))
    assert set(fleet.ledger.rosters[SHOP].nodes).isdisjoint(fleet.ledger.rosters[TILL].nodes)
    for node in fleet.nodes.values():
        node.away = False
    for subject in (SHOP, TILL):
        fleet.until(Phase.DONE, subject=subject, seconds=300)
        assert fleet.state(subject).result is Result.PROMOTED
    assert on_till(fleet) == set(fleet.on("2")) == set(fleet.nodes)


# Late joiners


def test_a_plan_of_one_stage_takes_late_joiners_in_by_batches(fleet):
    fleet.submit(plan("2", stages=EVERYONE, max_unavailable="2"))
    fleet.turn(2)
    for number in range(4):
        fleet.join(f"n9{number}")
    assert max(batches(fleet)) == 2
    assert len(fleet.ledger.rosters[SHOP].nodes) == 16


@pytest.mark.parametrize("when", ["before", "while it bakes"])
def test_who_joins_before_the_watch_is_taken_in_and_awaited(fleet, when):
    fleet.submit(plan("2", max_unavailable="2"))
    fleet.until_stage(2, baking=when == "while it bakes")
    late = [fleet.join(f"n9{number}") for number in range(5)]
    if when == "while it bakes":
        baking = fleet.state().baking_since_ms
    assert max(batches(fleet)) <= 2
    assert all(node.running["shop"].version == "2" for node in late)
    assert {node.name for node in late} <= set(fleet.ledger.rosters[SHOP].nodes)
    if when == "while it bakes":
        assert fleet.state().baking_since_ms == baking, "who came later does not make the others bake anew"
    fleet.check_rebuilt()


def test_a_late_joiner_on_which_it_does_not_start_takes_it_back(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(2)
    fleet.join("n90").broken.add("2")
    fleet.until(Phase.DONE)
    assert fleet.state().result is Result.ROLLED_BACK
    assert set(fleet.versions().values()) == {"1"}


@pytest.mark.parametrize("every_s", [1, 3, 7, 20])
def test_nodes_that_join_one_after_the_other_for_ever_keep_no_rollout_from_its_end(fleet, every_s):
    fleet.submit(plan("2", stages=HALF, max_unavailable="25%"))
    for number in range(400):
        if number % every_s == 0:
            fleet.join(f"m{number:03}")
        fleet.turn()
        if fleet.state().phase is Phase.WATCHING:
            break
    assert fleet.state().phase is Phase.WATCHING
    assert fleet.now_ms - fleet.state().started_ms < 200_000


def test_a_gate_of_the_last_stage_is_asked_once_whoever_joins_meanwhile(fleet):
    gated = replace(EVERYONE[0], pause=Pause(duration="1h", default=GateDefault.ROLLBACK))
    fleet.submit(plan("2", stages=(gated,), max_unavailable="100%"))
    fleet.until_stage(0)
    fleet.turn(15)
    fleet.join("n90")
    fleet.turn(15)
    fleet.ask(Verb.PROMOTE)
    fleet.until(Phase.WATCHING, seconds=30)
    assert [one.reason for one in fleet.decisions if one.kind is DecisionKind.GATE] == [Reason.GATE_OPENED, Reason.ASKED]
    assert "n90" in fleet.on("2")


# Cordoned, away, frozen: not awaited


def test_cordoned_nodes_are_in_no_batch_and_not_awaited_and_take_what_has_passed_every_stage(fleet):
    cordoned = list(fleet.nodes)[:6]
    for node in cordoned:
        fleet.ask(Verb.CORDON, "svc/fleet", target=node)
    fleet.submit(plan("2", stages=EVERYONE, max_unavailable="1"))
    assert max(batches(fleet)) == 1
    assert set(fleet.ledger.rosters[SHOP].nodes).isdisjoint(cordoned)
    fleet.turn()
    assert len(fleet.on("2")) == 12


def test_who_is_uncordoned_in_the_last_stage_goes_in_batches(fleet):
    cordoned = list(fleet.nodes)[:6]
    for node in cordoned:
        fleet.ask(Verb.CORDON, "svc/fleet", target=node)
    fleet.submit(plan("2", stages=EVERYONE, max_unavailable="1"))
    fleet.until_stage(0)
    for node in cordoned:
        fleet.ask(Verb.UNCORDON, "svc/fleet", target=node)
    assert max(batches(fleet)) == 1
    assert len(fleet.on("2")) == 12


def test_whoever_is_away_or_frozen_is_not_awaited_and_converges_when_it_is_back(fleet):
    fleet.nodes["n03"].away = True
    fleet.nodes["n04"].frozen = "two documents of one order"
    fleet.turn(95)
    fleet.submit(plan("2", stages=EVERYONE))
    fleet.until(Phase.WATCHING, seconds=60)
    assert {"n03", "n04"}.isdisjoint(fleet.ledger.rosters[SHOP].nodes)
    fleet.nodes["n03"].away = False
    fleet.turn(2)
    assert fleet.nodes["n03"].running["shop"].version == "2"


def test_whoever_is_back_before_the_watch_goes_in_a_batch(fleet):
    fleet.nodes["n03"].away = True
    fleet.turn(95)
    fleet.submit(plan("2", stages=EVERYONE))
    fleet.until_stage(0)
    fleet.nodes["n03"].away = False
    fleet.until(Phase.WATCHING, seconds=60)
    assert fleet.ledger.rosters[SHOP].nodes[-1] == "n03"


def test_who_falls_silent_while_it_is_waited_for_is_so_no_more_at_the_time_to_wake(halved):
    held = {node for node, running in halved.versions("shop").items() if running == "2"}
    halved.outcome = None
    for name in held:
        halved.nodes[name].away = True
    for _ in range(85):
        halved.turn()
    assert halved.state(TILL).baking_since_ms == 0
    wake = wake_at(halved.ledger, halved.view, halved.now_ms)
    assert wake is not None
    assert wake <= halved.now_ms + 5_000
    halved.turn(5)
    assert halved.state(TILL).baking_since_ms


# Whatever happens


@settings(deadline=None, max_examples=15, phases=(Turn.explicit, Turn.reuse, Turn.generate))
@given(st.data())
def test_no_node_within_reach_changes_but_in_a_batch_and_everything_ends(data):
    """Two services, nodes that join, go, come back, are cordoned: who changes before the watch is on the roster and was released,
    and nobody is changed whom another rollout is changing. With everyone well, all of it comes to an end.
    """
    fleet = shared(data.draw(st.integers(4, 8)), kind=Guarded)
    subjects, begun, joined = (SHOP, TILL), 0, 0
    for _ in range(data.draw(st.integers(3, 10))):
        match data.draw(st.sampled_from(["plan", "plan", "join", "away", "cordon", "pause", "abort", "turn"])):
            case "plan":
                begun += 1
                service = data.draw(st.sampled_from(fleet.services))
                settled = fleet.state(f"svc/{service}").settled
                kinds = {"stages": data.draw(st.sampled_from([EVERYONE, HALF])), "progress_deadline": "60s"}
                fleet.submit(plan(f"{begun + 2}", settled.version, id=f"p{begun}", service=service, max_unavailable="2", **kinds))
            case "join":
                joined += 1
                fleet.join(f"late{joined}")
            case "away":
                node = fleet.nodes[data.draw(st.sampled_from(sorted(fleet.nodes)))]
                node.away = not node.away
            case "cordon":
                node = data.draw(st.sampled_from(sorted(fleet.nodes)))
                fleet.ask(Verb.UNCORDON if node in fleet.ledger.cordoned else Verb.CORDON, "svc/fleet", target=node)
            case "pause":
                subject = data.draw(st.sampled_from(subjects))
                fleet.ask(Verb.RESUME if fleet.state(subject).phase is Phase.PAUSED else Verb.PAUSE, subject)
            case "abort":
                fleet.ask(Verb.ABORT, data.draw(st.sampled_from(subjects)))
        for _ in range(data.draw(st.integers(0, 30))):
            fleet.turn()
    for node in fleet.nodes.values():
        node.away = False
    for subject in subjects:
        fleet.ask(Verb.RESUME, subject)
    for _ in range(2_000):
        if all(fleet.state(subject).phase is Phase.DONE for subject in subjects):
            break
        fleet.turn()
    for subject in subjects:
        assert fleet.state(subject).phase is Phase.DONE
    fleet.check_rebuilt()


LONG = (Stage(set_nodes=1, bake="6h", min_requests=10), *EVERYONE)


def test_who_joins_in_a_long_stage_takes_what_is_settled(fleet):
    """Autoscaling does not wait for a bake of six hours, and the command of the stage has expired long before (B6, F1)."""
    fleet.submit(plan("2", stages=LONG))
    fleet.until_stage(0)
    fleet.turn(900)
    fleet.join("fresh")
    fleet.turn(5)
    assert fleet.versions()["fresh"] == "1"
    assert fleet.on("2") == list(fleet.ledger.rosters[SHOP].nodes[:1])
    renewed = [one for one in fleet.decisions if one.kind is DecisionKind.RELEASE][-1]
    assert (renewed.reason, renewed.facts["batch"]) == (Reason.NOT_READY, ["fresh"])
    before = len(fleet.decisions)
    fleet.turn(3_600)
    assert len(fleet.decisions) == before, "nobody else needs it renewed"


def test_who_comes_back_while_a_stage_waits_at_its_gate_takes_what_was_settled_meanwhile(fleet):
    away = fleet.nodes["n03"]
    away.away = True
    fleet.turn(95)
    fleet.submit(plan("2"))
    fleet.until(Phase.DONE)
    gated = (Stage(set_nodes=1, bake="10s", min_requests=10, pause=Pause()), *EVERYONE)
    fleet.submit(plan("3", "2", gated))
    fleet.until_stage(0)
    fleet.turn(900)
    away.away = False
    fleet.turn(5)
    assert fleet.versions()["n03"] == "2"


def test_what_does_not_start_the_settled_version_renews_nothing(fleet):
    fleet.submit(plan("2", stages=LONG))
    fleet.until_stage(0)
    fleet.turn(900)
    fleet.join("broken").broken.add("1")
    fleet.turn(2)
    before = len(fleet.decisions)
    fleet.turn(3_600)
    assert len(fleet.decisions) - before <= 1


@pytest.mark.parametrize("why", ["frozen", "cannot fetch"])
def test_who_takes_no_command_or_has_taken_the_last_one_renews_nothing(fleet, why):
    fleet.submit(plan("2", stages=LONG))
    fleet.until_stage(0)
    fleet.turn(900)
    node = fleet.join("odd")
    node.frozen = "equivocation" if why == "frozen" else ""
    node.slow.add("1")
    fleet.say(node)
    before = len(fleet.decisions)
    fleet.turn(3 * 3_600)
    assert len(fleet.decisions) - before <= 1
