"""What the decision agent alarms about, as levels (I1), and what silences do to its ledger."""

import pytest
from msgspec.structs import replace
from tests.rollout.fleet import FLEET, SHOP, Fleet, artifact, plan

from tidegate.rollout.alarms import alarms_of
from tidegate.rollout.drift import DRIFT_MS
from tidegate.rollout.events import IntentArrived
from tidegate.rollout.silences import SILENCES_MAX
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.documents import Hush, Intent, Phase, Verb
from tidegate.wire.judgement import Alarm, AlarmState, Severity
from tidegate.wire.policies import Freeze

DRIFT_S = DRIFT_MS // 1_000
DAY_MS = 86_400_000


@pytest.fixture
def fleet() -> Fleet:
    """Version 1 is settled everywhere."""
    found = Fleet()
    found.install()
    return found


def drift(fleet: Fleet) -> list[Alarm]:
    return [one for one in alarms_of(fleet.ledger, fleet.view, fleet.now_ms) if one.name == "version_drift"]


def test_a_node_that_runs_what_nobody_wants_is_named_after_two_minutes_and_until_it_is_back(fleet: Fleet) -> None:
    fleet.turn(DRIFT_S)
    assert drift(fleet) == []
    astray = fleet.nodes["n03"]
    astray.running["shop"] = artifact("by-hand")
    fleet._act = lambda _node: None
    fleet.turn(DRIFT_S)
    assert drift(fleet) == []
    fleet.turn(2)
    (alarm,) = drift(fleet)
    assert (alarm.severity, alarm.id) == (Severity.WARNING, "version_drift/svc/shop")
    assert alarm.summary == "1 node runs what nobody wants of shop: n03 (by-hand)."
    assert abs(alarm.start_ms - fleet.now_ms) <= 2_000
    astray.running["shop"] = artifact("1")
    fleet.turn(1)
    assert drift(fleet) == []


def test_other_bytes_under_the_right_name_are_astray_too(fleet: Fleet) -> None:
    fleet._act = lambda _node: None
    fleet.nodes["n00"].running["shop"] = replace(artifact("1"), sha256="f" * 64)
    fleet.turn(DRIFT_S + 2)
    assert "n00 (1, other bytes)" in drift(fleet)[0].summary


def test_who_is_away_and_who_has_just_come_back_is_not_astray(fleet: Fleet) -> None:
    away = fleet.nodes["n05"]
    away.running["shop"] = artifact("old")
    away.away = True
    fleet.turn(DRIFT_S * 3)
    assert drift(fleet) == []
    away.away = False
    fleet._act = lambda _node: None
    fleet.turn(DRIFT_S - 5)
    assert drift(fleet) == []


def test_no_version_of_a_rollout_is_astray_however_long_it_takes(fleet: Fleet) -> None:
    fleet.submit(plan("2"))
    for _ in range(3_000):
        if fleet.state().phase is Phase.DONE:
            break
        fleet.turn()
        assert drift(fleet) == []
    fleet.turn(DRIFT_S * 2)
    assert drift(fleet) == []


def hold(fleet: Fleet, why: str, held: bool) -> None:
    """Keep a rollout from its first batch, or let go of it."""
    match why:
        case "the artifact is fetched":
            for node in fleet.nodes.values():
                node.unfetchable = {"2": "so far"} if held else {}
                node.fetched = {} if held else {"shop": {"2"}}
        case "a freeze":
            fleet.policy(freezes=(Freeze(),) if held else ())
        case "an alarm":
            fleet.alarm(AlarmState.FIRING if held else AlarmState.RESOLVED)
        case "a pause":
            fleet.ask(Verb.PAUSE if held else Verb.RESUME)


@pytest.mark.parametrize("why", ["the artifact is fetched", "a freeze", "an alarm", "a pause"])
def test_no_verdict_is_missed_before_the_first_batch_and_from_then_on_it_is(fleet: Fleet, why: str) -> None:
    """The judge is told of a placement with the first release (C3)."""
    fleet.submit(plan("2"))
    hold(fleet, why, held=True)
    fleet.outcome = None
    fleet.turn(60)
    assert fleet.context().placement == ""
    assert alarms_of(fleet.ledger, fleet.view, fleet.now_ms) == ()
    hold(fleet, why, held=False)
    fleet.turn(2)
    assert fleet.state().released == 1
    fleet.turn(14)
    assert alarms_of(fleet.ledger, fleet.view, fleet.now_ms) == ()
    fleet.turn(3)
    assert [one.name for one in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)] == ["pipeline_stale"]


def test_an_objective_goes_to_the_judge_with_every_context_of_its_service() -> None:
    fleet = Fleet()
    fleet.submit(plan("1", None, slo=99.9))
    assert fleet.context().slo == 99.9
    fleet.until(Phase.WATCHING)
    assert fleet.context().slo == 99.9


def ask(fleet: Fleet, verb: Verb, **fields: object) -> Decision:
    fleet.intents += 1
    intent = Intent(
        id=f"s{fleet.intents}",
        fleet=FLEET,
        verb=verb,
        generation=0,
        actor="kim",
        reason="because",
        issued_ms=fleet.now_ms,
        **({"subject": "svc/fleet"} | fields),
    )
    return fleet.feed(IntentArrived(intent, None, "", fleet.now_ms))[0]


def hush(fleet: Fleet, minutes: float = 60, **names: object) -> Hush:
    return Hush(until_ms=fleet.now_ms + round(minutes * 60_000), **({"service": "shop"} | names))


def test_a_silence_is_one_record_and_outlives_a_restart(fleet: Fleet) -> None:
    decision = ask(fleet, Verb.SILENCE, hush=hush(fleet))
    assert (decision.kind, decision.state, decision.actor) == (DecisionKind.SETTING, None, "kim")
    (silence,) = fleet.ledger.silences
    assert (silence.since_ms, silence.reason, silence.hush.service) == (fleet.now_ms, "because", "shop")
    fleet.check_rebuilt()
    assert ask(fleet, Verb.UNSILENCE, target=silence.id).kind is DecisionKind.SETTING
    assert fleet.ledger.silences == ()
    assert ask(fleet, Verb.UNSILENCE, target=silence.id).kind is DecisionKind.REFUSE


def test_a_silence_of_one_service_is_in_nobodys_way_wherever_its_rollout_stands(fleet: Fleet) -> None:
    """It names the service's subject, and is compared with no generation of it (D3)."""
    before = fleet.state()
    decision = ask(fleet, Verb.SILENCE, subject=SHOP, hush=hush(fleet))
    assert (decision.kind, decision.state, decision.generation) == (DecisionKind.SETTING, None, before.generation)
    assert before.generation > 0
    assert fleet.state() == before


def test_silences_that_are_over_make_room(fleet: Fleet) -> None:
    for _ in range(SILENCES_MAX):
        assert ask(fleet, Verb.SILENCE, hush=hush(fleet, 1)).kind is DecisionKind.SETTING
    assert ask(fleet, Verb.SILENCE, hush=hush(fleet)).kind is DecisionKind.REFUSE
    fleet.now_ms += 61_000
    assert ask(fleet, Verb.SILENCE, hush=hush(fleet)).kind is DecisionKind.SETTING
    assert len(fleet.ledger.silences) == 1


@pytest.mark.parametrize("changes", [{"service": ""}, {"minutes": 0}, {"minutes": 31 * DAY_MS / 60_000}])
def test_a_silence_of_everything_or_for_ever_is_refused(fleet: Fleet, changes: dict[str, object]) -> None:
    assert ask(fleet, Verb.SILENCE, hush=hush(fleet, **changes)).kind is DecisionKind.REFUSE
    assert ask(fleet, Verb.SILENCE).kind is DecisionKind.REFUSE
    assert fleet.ledger.silences == ()
