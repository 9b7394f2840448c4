"""Rules B3, F1 to F3: from target, memory and observation to one action."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tidegate.reconcile.accept import expired
from tidegate.reconcile.actions import Action, Kind, Running, Seen, crash_looping, next_action, obsolete, proven_good
from tidegate.reconcile.held import Accepted, Failure, FailureKind, Freeze, Held, Proof, identity
from tidegate.reconcile.status import status_of
from tidegate.reconcile.target import target_of
from tidegate.wire.documents import Move, Phase
from tidegate.wire.telemetry import ServiceState

NOW_MS = 1_000_000


class Scene:
    """One service on node n0, the canary. Version 1 is good, proven, and runs; version 2 is asked for; both are cached."""

    def __init__(self, kit, **changes) -> None:
        self.kit = kit
        self.one, self.two = kit.artifact("1"), kit.artifact("2")
        self.accepted = Accepted(document=kit.desired(**changes), digest="", plan=kit.plan(), roster=kit.roster())
        self.proof = Proof(artifact=self.one, rollout="r.1")
        self.held = Held(accepted=self.accepted, applied=self.one, good=self.one, proof=self.proof)
        self.seen = self.runs(self.one)

    def runs(self, artifact, token: str = "", cached=None) -> Seen:
        running = Running(artifact=artifact, token=token, boot="b", ready_ms=1) if artifact is not None else None
        here = (self.one, self.two) if cached is None else cached
        return Seen(running=running, cached=frozenset(identity(one) for one in here))

    def ask(self, seen=None, now_ms: int = NOW_MS, node: str = "n0", **held):
        return next_action(node, {"shop": replace(self.held, **held)}, {"shop": seen or self.seen}, now_ms)

    def failure(self, kind: FailureKind, artifact=None, rollout: str = "r.1", count: int = 1) -> Failure:
        return Failure(
            kind=kind, artifact=artifact or self.two, rollout=rollout, count=count, last_ms=NOW_MS - 500, error="no such table"
        )


def test_the_canary_swaps_and_the_rest_does_nothing(kit):
    scene = Scene(kit)
    action = scene.ask()
    assert (action.kind, action.artifact, action.retreat) == (Kind.SWAP, scene.two, False)
    assert scene.ask(node="n5") is None


def test_what_is_not_cached_is_fetched_first(kit):
    scene = Scene(kit)
    assert scene.ask(scene.runs(scene.one, cached=())).kind is Kind.FETCH


def test_before_a_version_on_trial_starts_its_way_back_is_fetched_and_seen_to_start(kit):
    scene = Scene(kit)
    asked = scene.ask(scene.runs(scene.one, cached=(scene.two,)), proof=None)
    assert (asked.kind, asked.artifact) == (Kind.FETCH, scene.one)
    asked = scene.ask(proof=None)
    assert (asked.kind, asked.artifact, asked.retreat) == (Kind.PROBE, scene.one, False)
    assert scene.ask(proof=Proof(artifact=scene.one, rollout="r.0")).kind is Kind.PROBE, "each attempt has its own"
    assert scene.ask(proof=None, failure=scene.failure(FailureKind.START, scene.one)) is None, "ever more slowly"


def test_no_way_back_is_probed_where_none_is_or_nothing_is_on_trial(kit):
    first = Scene(kit)
    alone = replace(first.accepted, plan=kit.plan(first=True))
    assert first.ask(accepted=alone, proof=None).kind is Kind.SWAP
    done = Scene(kit, phase=Phase.DONE, move=Move.HOLD, cohorts=(), settled=kit.artifact("2"))
    assert done.ask(proof=None).kind is Kind.SWAP


def test_converged_is_quiet(kit):
    scene = Scene(kit)
    assert scene.ask(scene.runs(scene.two), applied=scene.two) is None


def test_nothing_is_known_so_nothing_is_done(kit):
    scene = Scene(kit)
    assert next_action("n0", {}, {"shop": scene.seen}, NOW_MS) is None
    assert next_action("n0", {}, {"shop": scene.runs(None)}, NOW_MS) is None


def test_an_empty_target_stops_nothing(kit):
    scene = Scene(kit, cohorts=(), settled=None)
    assert scene.ask() is None
    assert scene.ask(scene.runs(None), applied=None) is None


def test_an_expired_advance_is_not_applied_although_it_was_accepted_in_time(kit):
    scene = Scene(kit, expires_ms=NOW_MS)
    assert scene.ask(now_ms=NOW_MS - 1).kind is Kind.SWAP
    assert scene.ask(now_ms=NOW_MS) is None


def test_what_is_not_the_authors_newest_word_takes_nobody_forward_and_back_all_the_same(kit):
    """A retreat may hide behind it: stories 29631 (a stolen key's command took its place) and 105968 (its key was revoked)."""
    forward, back = Scene(kit), Scene(kit, move=Move.RETREAT, phase=Phase.ROLLING_BACK, cohorts=())

    def ask(scene, running):
        held = {"shop": replace(scene.held, applied=running)}
        return next_action("n0", held, {"shop": scene.runs(running)}, NOW_MS, outdated={"shop"})

    assert ask(forward, forward.one) is None
    assert ask(back, back.two).artifact == back.one


def test_what_failed_by_a_clock_that_was_set_back_since_is_not_waited_for(kit):
    """Story 35374: a service that ended while the clock was an hour ahead was down for an hour."""
    scene, hour_ms = Scene(kit, cohorts=()), 3_600_000
    again = scene.ask(scene.runs(None), applied=scene.one, exits_ms=(NOW_MS + hour_ms, NOW_MS + hour_ms + 1))
    assert (again.kind, again.artifact) == (Kind.REVIVE, scene.one)
    back = Scene(kit, move=Move.RETREAT, phase=Phase.ROLLING_BACK, cohorts=())
    failure = replace(back.failure(FailureKind.START, back.one, count=3), last_ms=NOW_MS + hour_ms)
    assert back.ask(back.runs(back.two), applied=back.two, failure=failure).artifact == back.one


def test_a_retreat_never_expires(kit):
    scene = Scene(kit, move=Move.RETREAT, phase=Phase.ROLLING_BACK, cohorts=(), expires_ms=1)
    action = scene.ask(scene.runs(scene.two), applied=scene.two)
    assert (action.kind, action.artifact, action.retreat) == (Kind.SWAP, scene.one, True)


TOKENS = {
    "a new token restarts once": ("t1", "", "", Kind.RESTART),
    "a stored token restarts nothing": ("t1", "t1", "", None),
    "a process that was started for it needs no restart": ("t1", "", "t1", None),
    "losing a token restarts nothing": ("", "t1", "t1", None),
    "another token restarts": ("t2", "t1", "t1", Kind.RESTART),
}


@pytest.mark.parametrize(("asked", "stored", "running", "kind"), TOKENS.values(), ids=TOKENS)
def test_run_tokens(kit, asked, stored, running, kind):
    scene = Scene(kit, cohorts=(kit.control(0, 1, token=asked),))
    action = scene.ask(scene.runs(scene.one, running), token=stored)
    assert (action.kind if action else None) is kind


def test_a_version_on_trial_that_did_not_start_is_not_tried_again_in_its_rollout(kit):
    scene = Scene(kit)
    assert scene.ask(failure=scene.failure(FailureKind.START), now_ms=NOW_MS + 3_600_000) is None
    assert scene.ask(failure=scene.failure(FailureKind.START, rollout="r.0")).kind is Kind.SWAP


def test_under_a_retreat_nobody_goes_forward_who_is_late(kit):
    scene = Scene(kit, move=Move.RETREAT, phase=Phase.ROLLING_BACK)
    assert target_of(scene.accepted, "n0").artifact == scene.two
    assert scene.ask() is None


@pytest.mark.parametrize(("count", "wait_ms"), [(1, 1_000), (2, 2_000), (4, 8_000), (9, 30_000)])
def test_a_retreat_that_fails_is_tried_ever_more_slowly(kit, count, wait_ms):
    scene = Scene(kit, move=Move.RETREAT, phase=Phase.ROLLING_BACK, cohorts=())
    failure, seen = scene.failure(FailureKind.START, scene.one, count=count), scene.runs(scene.two)
    assert scene.ask(seen, failure=failure, now_ms=failure.last_ms + wait_ms - 1) is None
    assert scene.ask(seen, failure=failure, now_ms=failure.last_ms + wait_ms).kind is Kind.SWAP


def test_an_exit_is_followed_by_a_revival_of_the_same_version_with_its_token(kit):
    scene = Scene(kit)
    action = scene.ask(scene.runs(None), applied=scene.two, applied_token="t1", exits_ms=(NOW_MS,))
    assert (action.kind, action.artifact, action.token) == (Kind.REVIVE, scene.two, "t1")


def test_a_second_exit_is_revived_after_a_second(kit):
    scene = Scene(kit)
    exits = {"applied": scene.two, "exits_ms": (NOW_MS - 10, NOW_MS)}
    assert scene.ask(scene.runs(None), **exits) is None
    assert scene.ask(scene.runs(None), now_ms=NOW_MS + 1_000, **exits).kind is Kind.REVIVE


def test_three_exits_in_a_minute_of_a_new_version_go_back_to_the_last_good_one(kit):
    scene = Scene(kit)
    action = scene.ask(scene.runs(None), applied=scene.two, exits_ms=(NOW_MS - 50_000, NOW_MS - 9, NOW_MS))
    assert (action.kind, action.artifact, action.retreat) == (Kind.REVERT, scene.one, True)


def test_where_nothing_was_good_for_a_minute_a_crash_loop_goes_back_to_what_was_seen_to_start(kit):
    scene = Scene(kit)
    exits = {"applied": scene.two, "good": None, "exits_ms": (NOW_MS,) * 3}
    assert scene.ask(scene.runs(None), **exits).artifact == scene.one
    assert scene.ask(scene.runs(None), proof=None, **exits, now_ms=NOW_MS + 30_000).kind is Kind.REVIVE


@pytest.mark.parametrize(
    ("applied", "good", "exits_ms"),
    [("2", "1", (NOW_MS - 60_001, NOW_MS - 9, NOW_MS)), ("1", "1", (NOW_MS,) * 3), ("2", None, (NOW_MS,) * 3)],
    ids=["not within a minute", "the good one itself", "nothing known to be good"],
)
def test_otherwise_it_is_no_crash_loop(kit, applied, good, exits_ms):
    held = Held(applied=kit.artifact(applied), good=kit.artifact(good) if good else None, exits_ms=exits_ms)
    assert not crash_looping(held, NOW_MS)


def test_after_a_crash_loop_the_version_is_not_tried_again_in_its_rollout_even_when_settled(kit):
    scene = Scene(kit, phase=Phase.DONE, move=Move.HOLD, cohorts=(), settled=kit.artifact("2"))
    assert scene.ask(failure=scene.failure(FailureKind.CRASH_LOOP), now_ms=NOW_MS + 3_600_000) is None


def test_a_frozen_service_goes_back_but_not_forward(kit):
    freeze = Freeze(why="two documents", epoch=1)
    assert Scene(kit).ask(freeze=freeze) is None
    scene = Scene(kit, move=Move.RETREAT, phase=Phase.ROLLING_BACK, cohorts=())
    assert scene.ask(scene.runs(scene.two), freeze=freeze).retreat


def test_retreats_come_first_and_downloads_last(kit):
    forward, back = Scene(kit), Scene(kit, move=Move.RETREAT, phase=Phase.ROLLING_BACK, cohorts=())
    prefetch = Scene(kit, prefetch=True, cohorts=())
    held = {"a": prefetch.held, "b": forward.held, "c": back.held}
    seen = {"a": prefetch.runs(prefetch.one, cached=()), "b": forward.seen, "c": back.runs(back.two)}
    order = []
    while (action := next_action("n0", held, seen, NOW_MS)) is not None and len(order) < 5:
        order.append((action.service, action.kind))
        seen.pop(action.service)
    assert order == [("c", Kind.SWAP), ("b", Kind.SWAP), ("a", Kind.FETCH)]


@pytest.mark.parametrize(
    ("kind", "state"),
    [(Kind.SWAP, ServiceState.STARTING), (Kind.STOP, ServiceState.DRAINING), (Kind.FETCH, ServiceState.READY)],
)
def test_what_is_under_way_is_what_a_service_does(kit, kind, state):
    scene = Scene(kit)
    assert status_of("n0", scene.held, scene.seen, Action(kind=kind, service="shop", artifact=scene.two)).state is state


def test_what_is_under_way_is_obsolete_once_its_service_owes_something_else(kit):
    scene = Scene(kit)
    swap = scene.ask()
    retreat = Scene(kit, move=Move.RETREAT, phase=Phase.ROLLING_BACK, cohorts=())
    assert not obsolete("n0", scene.held, swap)
    assert obsolete("n0", retreat.held, swap)
    going_back = retreat.ask(retreat.runs(retreat.two))
    assert not obsolete("n0", scene.held, going_back), "a retreat is finished, whatever comes"


def test_what_is_settled_and_runs_for_a_minute_becomes_the_good_one(kit):
    scene = Scene(kit, phase=Phase.DONE, move=Move.HOLD, cohorts=(), settled=kit.artifact("2"))
    held = replace(scene.held, applied=scene.two, changed_ms=NOW_MS)
    assert proven_good(held, scene.runs(scene.two).running, NOW_MS + 59_999) is None
    assert proven_good(held, scene.runs(scene.two).running, NOW_MS + 60_000) == scene.two
    assert proven_good(replace(held, exits_ms=(NOW_MS + 30_000,)), scene.runs(scene.two).running, NOW_MS + 60_000) is None
    assert proven_good(Scene(kit).held, scene.runs(scene.two).running, NOW_MS + 60_000) is None, "it is on trial"


def test_a_failed_start_is_said_although_the_old_version_serves(kit):
    scene = Scene(kit)
    status = status_of("n0", replace(scene.held, failure=scene.failure(FailureKind.START)), scene.seen, None)
    assert (status.state, status.version, status.error) == (ServiceState.FAILED, "2", "no such table")
    back = Scene(kit, move=Move.RETREAT, phase=Phase.ROLLING_BACK, cohorts=())
    status = status_of("n0", replace(back.held, failure=scene.failure(FailureKind.START)), scene.seen, None)
    assert (status.state, status.version, status.error) == (ServiceState.READY, "1", "")


def test_why_a_prefetch_fails_is_said_while_it_is_asked_for(kit):
    failure = Scene(kit).failure(FailureKind.FETCH)
    for prefetch, error in ((True, "no such table"), (False, "")):
        scene = Scene(kit, prefetch=prefetch, cohorts=())
        status = status_of("n0", replace(scene.held, failure=failure), scene.seen, None)
        assert (status.state, status.version, status.error) == (ServiceState.READY, "1", error)


ARTIFACTS = st.sampled_from([None, "1", "2", "3"])


@given(
    move=st.sampled_from(Move),
    phase=st.sampled_from(Phase),
    token=st.sampled_from(["", "t1", "t2"]),
    held=st.fixed_dictionaries(
        {
            "applied": ARTIFACTS,
            "good": ARTIFACTS,
            "token": st.sampled_from(["", "t1"]),
            "exits_ms": st.lists(st.integers(NOW_MS - 100_000, NOW_MS), max_size=4).map(sorted).map(tuple),
        }
    ),
    running=ARTIFACTS,
    cached=st.sets(st.sampled_from(["1", "2", "3"])),
    failed=st.none() | st.tuples(st.sampled_from(FailureKind), st.sampled_from(["1", "2"]), st.sampled_from(["r.0", "r.1"])),
    expires_ms=st.sampled_from([0, NOW_MS, NOW_MS + 1]),
    frozen=st.booleans(),
    proven=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_state_has_an_answer_and_no_answer_leaves_the_rules(
    kit, *, move, phase, token, held, running, cached, failed, expires_ms, frozen, proven
):
    scene = Scene(kit, move=move, phase=phase, expires_ms=expires_ms, cohorts=(kit.canary(token=token),))
    fields = {name: kit.artifact(value) if name in ("applied", "good") and value else value for name, value in held.items()}
    failure = scene.failure(failed[0], kit.artifact(failed[1]), failed[2]) if failed else None
    freeze = Freeze(why="", epoch=1) if frozen else None
    one = replace(scene.held, failure=failure, freeze=freeze, proof=scene.proof if proven else None, **fields)
    seen = scene.runs(kit.artifact(running) if running else None, cached=[kit.artifact(version) for version in cached])
    action = next_action("n0", {"shop": one}, {"shop": seen}, NOW_MS)
    if action is None:
        return
    if action.kind is Kind.PROBE or (action.kind is Kind.FETCH and not proven):
        assert action.artifact.version in {"1", "2", held["applied"]}
        return
    good = held["good"] or ("1" if proven else None)  # what was seen to start in this rollout is the way back of last resort
    assert action.artifact.version in {"2", held["applied"], good}
    assert action.kind is Kind.FETCH or action.artifact.version in cached, "nothing is started that is not here"
    if action.kind in (Kind.SWAP, Kind.START, Kind.RESTART):
        assert action.artifact == target_of(one.accepted, "n0").artifact
        assert move is not Move.RETREAT
        assert not frozen
        assert proven or action.kind is Kind.RESTART, "no version on trial starts before its way back has"
        assert not expired(one.accepted.document, one.accepted.plan, NOW_MS)
    if action.kind in (Kind.REVIVE, Kind.REVERT, Kind.START):
        assert running is None
