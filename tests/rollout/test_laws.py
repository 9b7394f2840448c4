"""Laws: what holds for every history."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rollout.fleet import SHOP, START_MS, Fleet, plan

from tidegate.rollout.ledger import BrokenChain, Ledger, apply, rebuild
from tidegate.rollout.roster import in_order
from tidegate.rollout.view import View
from tidegate.wire.codec import decode
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.policies import Freeze, RollbackBudget
from tidegate.wire.reasons import Reason

ROOT = Path(__file__).parents[2]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_history_keeps_the_laws_and_rebuilds_to_the_byte(data):
    """Fleet checks on every record: exposure, generations, no advance without a fresh pass of its placement or in a freeze."""
    fleet = Fleet(nodes=data.draw(st.integers(4, 12)))
    if data.draw(st.booleans()):
        fleet.install()
    versions = iter(range(2, 1_000))
    for _ in range(data.draw(st.integers(1, 25))):
        match data.draw(st.sampled_from(["turn", "plan", "intent", "verdict", "away", "broken", "judge", "policy"])):
            case "turn":
                fleet.turn(data.draw(st.integers(1, 20)))
            case "plan":
                settled = fleet.state().settled
                fleet.submit(plan(str(next(versions)), settled.version if settled else None))
            case "intent":
                fleet.ask(
                    data.draw(st.sampled_from(list(Verb))), generation=data.draw(st.none() | st.integers(0, 50)), target="2"
                )
            case "policy":
                fleet.policy(
                    data.draw(st.sampled_from(["a", "b"])),
                    freezes=data.draw(st.sampled_from([(), (Freeze(),), (Freeze(until_ms=fleet.now_ms + 30_000),)])),
                    rollback_budget=data.draw(st.sampled_from([None, RollbackBudget(rollbacks=1, within="1m")])),
                    dwell=data.draw(st.sampled_from([None, "20s"])),
                    second_approver=data.draw(st.booleans()),
                )
            case "verdict":
                fleet.judge(
                    data.draw(st.sampled_from(list(Outcome))),
                    placement=data.draw(st.sampled_from(["", "x", fleet.state().placement])),
                )
            case "away":
                node = fleet.nodes[data.draw(st.sampled_from(sorted(fleet.nodes)))]
                node.away = not node.away
            case "broken":
                fleet.nodes[data.draw(st.sampled_from(sorted(fleet.nodes)))].broken.add(str(data.draw(st.integers(1, 9))))
            case "judge":
                fleet.outcome = data.draw(st.none() | st.sampled_from([Outcome.PASS, Outcome.HOLD]))
    fleet.check_rebuilt()


def test_every_plan_and_every_intent_yields_exactly_one_record_that_answers_it():
    fleet = Fleet()
    fleet.install()
    for number in range(3):
        answers = [one.answers for one in fleet.submit(plan(str(number + 2)))]
        assert len([one for one in answers if one]) == 1
    for verb in Verb:
        fleet.ask(verb, target="n00")
        assert fleet.decisions[-1].answers or any(one.answers == f"i{fleet.intents}" for one in fleet.decisions)
    answered = [one.answers for one in fleet.decisions if one.answers]
    assert len(answered) == len(set(answered))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fleet": "other"}, Reason.WRONG_FLEET),
        ({"expires_ms": START_MS}, Reason.EXPIRED),
        ({"before": "7"}, Reason.WRONG_ROLLBACK_TARGET),
        ({"before": None}, Reason.WRONG_ROLLBACK_TARGET),
        ({"version": "1"}, Reason.SAME_VERSION),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_before_anything_moves(change, reason):
    fleet = Fleet()
    fleet.install()
    fields = {"version": "2", "before": "1"} | change
    before = fleet.state()
    decisions = fleet.submit(plan(fields.pop("version"), fields.pop("before"), **fields))
    assert [one.kind for one in decisions] == [DecisionKind.REFUSE]
    assert decisions[0].reason in (reason, Reason.BAD_DOCUMENT)
    assert fleet.state() == before


def test_a_second_plan_waits_for_the_first_and_starts_from_where_that_ended():
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2", watch="5s"))
    (queued,) = fleet.submit(plan("3", "2", watch="5s"))
    assert (queued.kind, queued.reason) == (DecisionKind.ACCEPT, Reason.PLAN_QUEUED)
    fleet.turn(200)
    assert len(fleet.on("3")) == 12


@given(st.permutations([f"n{number}" for number in range(20)]), st.integers(0, 20))
def test_the_roster_is_stable_and_a_later_joiner_moves_nobody(names, known):
    view = View(fleet="f")
    assert in_order("r.1", tuple(names), view) == in_order("r.1", tuple(sorted(names)), view)
    some = set(names[:known])
    whole = in_order("r.1", tuple(names), view)
    assert [node for node in whole if node in some] == list(in_order("r.1", tuple(some), view))


def test_zones_alternate_in_the_roster():
    fleet = Fleet(nodes=12, zones=3)
    fleet.install()
    fleet.submit(plan("2"))
    fleet.turn(3)
    zones = [fleet.nodes[node].zone for node in fleet.ledger.rosters[SHOP].nodes]
    assert all(len(set(zones[at : at + 3])) == 3 for at in range(0, 12, 3))


def test_a_record_that_does_not_follow_is_refused():
    fleet = Fleet()
    fleet.install()
    records = list(enumerate(fleet.records))
    with pytest.raises(BrokenChain):
        rebuild(records[:2] + records[3:])
    raw = fleet.records[1]
    with pytest.raises(BrokenChain):
        apply(Ledger(epoch=1), decode(raw, Decision), raw)


def test_a_record_that_landed_twice_counts_once():
    fleet = Fleet()
    fleet.install()
    twice = [raw for raw in fleet.records for _ in range(2)]
    assert rebuild(enumerate(twice)) == rebuild(enumerate(fleet.records))


STORY = """
import sys
sys.path[:0] = ["schemas", "streams", "agents", "."]
from tests.rollout.fleet import Fleet, plan
from tidegate.wire.documents import Phase, digest
from tidegate.wire.judgement import Outcome
fleet = Fleet()
fleet.install()
fleet.submit(plan("2"))
fleet.until(Phase.DONE)
fleet.submit(plan("3", "2"))
fleet.until_stage(1)
fleet.outcome = Outcome.HOLD
fleet.judge(Outcome.FAIL)
fleet.until(Phase.DONE)
print(len(fleet.records), digest(b"".join(fleet.records)))
"""


def test_the_same_history_gives_the_same_bytes_under_every_hash_seed():
    told = {
        subprocess.run(
            [sys.executable, "-c", STORY],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(told) == 1


def test_ticks_and_reports_that_change_nothing_leave_no_record():
    fleet = Fleet()
    fleet.install()
    before = len(fleet.records)
    fleet.turn(200)
    assert len(fleet.records) == before


def test_the_time_of_a_record_never_goes_back():
    fleet = Fleet()
    fleet.install()
    fleet.now_ms -= 60_000
    (decision, *_) = fleet.submit(plan("2"))
    assert decision.now_ms >= fleet.decisions[-2].now_ms


def test_a_pause_by_a_person_stops_batches_and_resume_goes_on():
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2", max_unavailable="2"))
    fleet.until_stage(2, baking=False)
    fleet.ask(Verb.PAUSE)
    before = fleet.state().released
    fleet.turn(20)
    assert fleet.state().released == before
    fleet.ask(Verb.RESUME)
    fleet.until(Phase.DONE)
    assert len(fleet.on("2")) == 12
