"""Laws of groups: what holds whatever happens, in whatever order it is heard of (D7)."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rollout.fleet import Fleet
from tests.rollout.waves import NAME, QUICK, Mortal, group, installed, member

from tidegate.rollout import group_retreat, group_steps, membership, start
from tidegate.wire.decisions import Decision, Result
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Stage
from tidegate.wire.policies import Freeze
from tidegate.wire.reasons import Reason

SERVICES = ("a", "b", "c", "d")
TWO = (Stage(set_nodes=1, bake="2s", min_requests=10), Stage(set_weight=100, bake="2s", min_requests=10))
HAPPENINGS = ["turn", "turn", "fail", "intent", "of group", "away", "broken", "slow", "freeze", "plan"]
VERBS = [Verb.PAUSE, Verb.RESUME, Verb.PROMOTE, Verb.ABORT, Verb.UNDO, Verb.RETRY]


@st.composite
def histories(draw):
    """A group of two to four services in one to four waves, and up to fifteen things that happen to it."""
    count = draw(st.integers(2, 4))
    cuts = sorted(draw(st.sets(st.integers(1, count - 1), max_size=count - 1)))
    services = SERVICES[:count]
    waves = [services[first:end] for first, end in zip((0, *cuts), (*cuts, count), strict=True)]
    acts = draw(st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.sampled_from(services), st.integers(0, 11)), max_size=15))
    return waves, draw(st.sampled_from([None, "5s"])), acts


def told(history, dies_at=frozenset()) -> Fleet:
    """Play a history; Fleet holds every record against the laws of rollouts and of waves."""
    waves, bake, acts = history
    fleet = installed(*(service for wave in waves for service in wave), kind=Mortal)
    fleet.dies_at = set(dies_at)
    plans = [[member(one, stages=(TWO, QUICK)[len(one + str(at)) % 2]) for one in wave] for at, wave in enumerate(waves)]
    fleet.submit_group(group(fleet, *plans, bake=bake))
    for what, service, how in acts:
        happen(fleet, what, service, how)
    return fleet


def happen(fleet: Fleet, what: str, service: str, how: int) -> None:
    subject, node = f"svc/{service}", fleet.nodes[f"n{how % 4:02}"]
    match what:
        case "turn":
            fleet.turn(1 + how * 2)
        case "fail":
            fleet.judge(Outcome.FAIL, subject)
        case "intent":
            fleet.ask(VERBS[how % len(VERBS)], subject)
        case "of group":
            fleet.ask(VERBS[how % len(VERBS)], NAME)
        case "away":
            node.away = not node.away
        case "broken":
            node.broken ^= {"12"[how % 2]}
        case "slow":
            node.slow ^= {"12"[how % 2]}
        case "freeze":
            fleet.policy(freezes=(Freeze(),) if how % 2 else ())
        case "plan":
            settled = fleet.state(subject).settled.version
            fleet.submit(member(service, f"{how + 10}", settled, id=f"{service}-{how}-{fleet.now_ms}", stages=TWO))


def heal(fleet: Fleet) -> None:
    """Everything works again, and nobody stands in the way: whatever goes back arrives."""
    for node in fleet.nodes.values():
        node.away = False
        node.broken, node.slow = set(), set()
    fleet.policy()
    fleet.turn(20)
    after = fleet.ledger.groups[NAME]
    if after.phase in (Phase.RUNNING, Phase.PAUSED):
        states = [fleet.state(one.subject) for one in after.members if fleet.state(one.subject).plan_digest == one.plan]
        assert all(state.result in (Result.NONE, Result.PROMOTED) for state in states), "a member went back alone"
    fleet.ask(Verb.ABORT, NAME)
    for _ in range(400):
        if not fleet.ledger.groups[NAME].active:
            return
        fleet.turn()
    raise AssertionError(f"the group never ends: {fleet.ledger.groups[NAME]}")


@settings(deadline=None, max_examples=40)
@given(histories())
def test_whatever_happens_waves_never_overlap_and_a_group_goes_back_as_one_in_reverse(history):
    fleet = told(history)
    heal(fleet)
    after = fleet.ledger.groups[NAME]
    for one in after.members:
        state = fleet.state(one.subject)
        if state.plan_digest == one.plan and after.result is not Result.PROMOTED:
            assert state.settled.version == "1", "nothing of a group that went back is settled"
    fleet.check_rebuilt()


@settings(deadline=None, max_examples=25)
@given(histories(), st.sets(st.integers(20, 120), min_size=1, max_size=12))
def test_authors_who_die_at_any_record_are_continued_as_if_they_had_not(history, dies_at):
    fleet, mortal = told(history), told(history, dies_at)
    assert Counter(map(deed, mortal.decisions)) == Counter(map(deed, fleet.decisions))
    assert mortal.versions() == fleet.versions()
    for subject, state in fleet.ledger.subjects.items():
        assert mortal.state(subject) == state
    assert mortal.ledger.groups == fleet.ledger.groups


def deed(decision: Decision) -> tuple[str, ...]:
    return decision.kind, decision.subject, decision.reason, decision.message


def foreign(ledger, plan, state):
    """Let plans of others pass, as if they were of no group."""
    found = membership.turn(ledger, plan, state)
    return None if found is not None and found[0] is Reason.ALREADY_RUNNING else found


STORY = ([("a",), ("b", "c")], None, [("turn", "a", 5), ("plan", "a", 3), ("turn", "a", 1), ("fail", "b", 0), ("turn", "a", 9)])
"""The second of two waves fails; between them somebody else asks for another version of what the first has brought."""
GUARDS = {
    "a wave waits for the one before": (group_steps, "wave_done", lambda *_: True, "promoted, and svc/a is not"),
    "a member waits for its wave": (start, "turn", lambda *_: None, "before svc/a is done"),
    "a group follows its member": (group_steps, "_failed", lambda *_: None, "went back alone"),
    "a retreat goes wave by wave": (group_retreat, "_overdue_ms", lambda *_: 0, "which came later"),
    "a plan of others waits": (start, "turn", foreign, "which is not of group/all"),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_without_any_one_guard_the_judge_says_so(guard, monkeypatch):
    """Each is taken out once: waves two of which fail must then break a promise, or never end."""
    module, name, without, says = GUARDS[guard]
    monkeypatch.setattr(module, name, without)
    with pytest.raises(AssertionError, match=says):
        heal(told(STORY))
