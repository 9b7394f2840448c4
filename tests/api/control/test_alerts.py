"""Alerts of others: what fires makes rollouts wait, what the settings name aborts them, once for each time that it fires."""

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.api.control.kit import NEW, Installation, installed

from tidegate.api.control.alerts import OPEN_MAX, REMEMBERED_MS
from tidegate.api.control.inbound import Alert, ended, fires
from tidegate.api.roles import Role
from tidegate.rollout.advance import blockers
from tidegate.runtime.settings import AlertSettings
from tidegate.wire.codec import decode, encode
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Intent, Phase, Verb
from tidegate.wire.envelope import unseal
from tidegate.wire.judgement import Alarm, AlarmState, Episode, Severity
from tidegate.wire.plans import Stage, WhenBusy
from tidegate.wire.reasons import Reason

SHOP = "svc/shop"
T0 = dt.datetime.now(dt.UTC).replace(microsecond=0)
T0_MS = round(T0.timestamp() * 1_000)
ABORTING = AlertSettings(aborts=({"tidegate": "abort", "severity": "critical"}, {"alertname": "CartsLost"}))
ALL_AT_ONCE = (Stage(set_weight=100, bake="1ms", min_requests=0),)


def alert(status: str = "firing", start_s: float = 0, fingerprint: str = "a1b2", **labels: str) -> dict[str, Any]:
    """One alert as Alertmanager writes it, unknown fields and all."""
    named = {"alertname": "OrdersLost", "service": "shop", "severity": "critical"} | labels
    start = T0 + dt.timedelta(seconds=start_s)
    return {
        "status": status,
        "labels": {name: text for name, text in named.items() if text},
        "annotations": {"summary": "orders are lost"},
        "startsAt": start.isoformat(),
        "endsAt": (start + dt.timedelta(seconds=5)).isoformat() if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": fingerprint,
    }


def body(*alerts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    known = {
        "receiver": "tidegate",
        "status": "firing",
        "alerts": alerts,
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "",
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
    }
    return known | fields


@contextlib.asynccontextmanager
async def serving(world, settings: AlertSettings = ABORTING) -> AsyncIterator[Installation]:
    """v1 runs everywhere; ``am`` is Alertmanager's token."""
    async with installed(world) as here:
        here.alerts = settings
        here.token("ci", Role.OPERATOR)
        here.token("am", Role.ALERTS)
        here.token("other", Role.ALERTS, "web-*")
        async with here.serve():
            assert (await here.start("ci", stages=ALL_AT_ONCE)).status_code == 200
            await here.until(lambda: phase(here) is Phase.DONE)
            yield here


async def post(here: Installation, *alerts: dict[str, Any], by: str = "am", **fields: Any) -> Any:
    return await here.post("/alertmanager", by, body(*alerts, **fields))


def phase(here: Installation) -> Phase:
    return here.mirror.model.ledger.subject(SHOP).phase


def alarms(here: Installation) -> dict[str, Alarm]:
    return {key: one for key, one in here.mirror.model.view.alarms.items() if one.writer == "api"}


def ends(here: Installation) -> list[Alarm]:
    """Every end of an alert that stands on the topic."""
    told = [one for one in here.world.log.topic("alarms") if one.value is not None and (one.key or "").startswith("api/")]
    return [one for one in (decode(record.value, Alarm) for record in told) if one.state is AlarmState.RESOLVED]


def aborts(here: Installation) -> list[Intent]:
    read = (unseal(one.value, Intent, here.world.home.trust)[0] for one in here.world.log.topic("intents"))
    return [one for one in read if one.verb is Verb.ABORT]


def waits_for(here: Installation) -> set[Reason]:
    return {reason for reason, _ in blockers(here.mirror.model.ledger, here.mirror.model.view, SHOP, here.mirror.now_ms)}


async def under_way(here: Installation, identity: str = "p2", **fields: Any) -> None:
    assert (await here.start("ci", identity, **here.upgrade(**fields))).status_code == 200
    await here.until(lambda: phase(here) is Phase.RUNNING)


async def test_what_fires_makes_the_rollout_wait_and_its_end_lifts_that(world):
    async with serving(world) as here:
        await under_way(here)
        told = await post(here, alert(), alert(fingerprint="c3", severity="warning", alertname="Slow"))
        assert (told.status_code, told.json()["item"]) == (200, {"taken": 2, "own": 0, "aborts": []})
        await here.until(lambda: len(alarms(here)) == 2)
        gate = alarms(here)["api/alertmanager/a1b2"]
        assert (gate.name, gate.service, gate.severity, gate.summary) == ("OrdersLost", "shop", "critical", "orders are lost")
        assert Reason.ALARM_OPEN in waits_for(here)
        refused = await here.start("ci", "p3", **here.upgrade())
        assert refused.status_code == 409
        assert (await post(here, alert("resolved"))).status_code == 200
        await here.until(lambda: list(alarms(here)) == ["api/alertmanager/c3"])
        assert Reason.ALARM_OPEN not in waits_for(here), "a warning stops nothing"
        assert phase(here) is Phase.RUNNING
        assert aborts(here) == []


async def test_what_is_posted_again_is_the_same_alarm_and_the_same_intent(world):
    async with serving(world) as here:
        await under_way(here)
        one = alert(tidegate="abort")
        answers = await asyncio.gather(*(post(here, one) for _ in range(3)))
        answers += [await post(here, one, alert(fingerprint="c3")), await post(here, one)]
        await here.until(lambda: phase(here) is Phase.DONE)
        answers.append(await post(here, one))
        assert {answer.status_code for answer in answers} == {200}
        assert len({name for answer in answers for name in answer.json()["item"]["aborts"]}) == 1
        records = [record for record in here.world.log.topic("alarms") if record.key == "api/alertmanager/a1b2"]
        told = [one for one in here.mirror.model.told if one.decision.kind is DecisionKind.ROLLBACK]
    (rollback,) = told
    assert (rollback.decision.actor, rollback.decision.reason) == ("am", Reason.ASKED)
    assert rollback.decision.message.startswith("OrdersLost fires: orders are lost")
    assert len(records) <= 3, "those that came together; no later one"
    assert len({one.id for one in aborts(here)}) == 1


async def test_an_abort_that_got_no_answer_is_asked_for_again_with_the_same_post(world):
    async with serving(world) as here:
        await under_way(here)
        for topic in ("intents", "alarms"):
            here.world.log.lose_answers(topic, False)
            assert (await post(here, alert(tidegate="abort"))).status_code == 503
        told = await post(here, alert(tidegate="abort"))
        assert (told.status_code, len(told.json()["item"]["aborts"])) == (200, 1)
        await here.until(lambda: phase(here) is Phase.DONE)
        assert len({one.id for one in aborts(here)}) == 1


async def test_many_alerts_that_abort_are_one_intent_and_none_of_them_aborts_the_fix(world):
    async with serving(world) as here:
        await under_way(here)
        many = [alert(fingerprint=f"{number:04x}", tidegate="abort") for number in range(20)]
        assert len((await post(here, *many)).json()["item"]["aborts"]) == 1
        await here.until(lambda: phase(here) is Phase.DONE and len(alarms(here)) == 20)
        await here.post("/rollouts/shop/release", "ci", {"target": NEW.version, "reason": "x"})
        fix = replace(NEW, version="v3", sha256="c" * 64)
        await under_way(here, "fix", artifact=fix, despite_alarms=True, reason="the fix")
        assert (await post(here, *reversed(many))).json()["item"]["aborts"] == []
        assert (len(aborts(here)), phase(here)) == (1, Phase.RUNNING)


async def test_a_fix_goes_on_while_the_alert_still_fires_and_ends_where_it_fires_anew(world):
    async with serving(world) as here:
        await under_way(here)
        await post(here, alert(tidegate="abort"))
        await here.until(lambda: phase(here) is Phase.DONE)
        await here.post("/rollouts/shop/release", "ci", {"target": NEW.version, "reason": "x"})
        fix = replace(NEW, version="v3", sha256="c" * 64)
        await under_way(here, "fix", artifact=fix, despite_alarms=True, reason="the fix")
        await post(here, alert(tidegate="abort"))
        await post(here, alert("resolved", tidegate="abort"))
        await here.until(lambda: not alarms(here))
        assert phase(here) is Phase.RUNNING
        await post(here, alert(start_s=60, tidegate="abort"))
        await here.until(lambda: phase(here) is Phase.DONE)
        assert len(aborts(here)) == 2
        again = here.mirror.model.view.alarms["api/alertmanager/a1b2"]
    assert (again.episodes, again.past) == (2, (Episode(T0_MS, T0_MS + 5_000),))


async def test_an_alert_aborts_what_is_under_way_and_leaves_what_waits_behind_it(world):
    """That may be the fix."""
    async with serving(world) as here:
        await under_way(here)
        fix = replace(NEW, version="v3", sha256="c" * 64)
        behind = {"artifact": fix, "despite_alarms": True, "reason": "the fix", "when_busy": WhenBusy.QUEUE}
        assert (await here.start("ci", "fix", **here.upgrade(**behind))).status_code == 200
        await post(here, alert(tidegate="abort"))
        await here.until(lambda: here.mirror.model.ledger.subject(SHOP).rollout == "fix.1")


async def test_an_alert_that_has_fired_for_long_aborts_nothing_it_only_makes_wait(world):
    """Its id may be forgotten by then, and what is under way is the fix."""
    async with serving(world) as here:
        await under_way(here)
        told = await post(here, alert(start_s=-3_601, tidegate="abort"))
        assert (told.status_code, told.json()["item"]["aborts"]) == (200, [])
        await here.until(lambda: bool(alarms(here)))
        assert Reason.ALARM_OPEN in waits_for(here)
        assert len((await post(here, alert(start_s=-3_500, fingerprint="c3", tidegate="abort"))).json()["item"]["aborts"]) == 1


async def test_where_nothing_is_under_way_the_abort_is_answered_by_a_refusal_and_used_up(world):
    async with serving(world) as here:
        (name,) = (await post(here, alert(alertname="CartsLost", severity="info"))).json()["item"]["aborts"]
        await here.until(lambda: here.mirror.answer(name) is not None)
        assert here.mirror.answer(name).decision.reason is Reason.NOTHING_TO_DO
        (gate,) = alarms(here).values()
        assert gate.severity is Severity.CRITICAL, "what aborts also stops the next one"
        assert (await here.start("ci", "p2", **here.upgrade())).status_code == 409


async def test_what_names_no_service_that_is_known_is_refused_by_its_path_and_the_rest_is_taken(world):
    async with serving(world) as here:
        told = await post(here, alert(service="shopp", fingerprint="1"), alert(), alert(service="", fingerprint="2"))
        assert (told.status_code, told.headers["content-type"]) == (422, "application/problem+json")
        faults = {one["path"]: one["problem"] for one in told.json()["faults"]}
        assert list(faults) == ["body.alerts[0].labels.service", "body.alerts[2].labels.service"]
        assert "no service 'shopp' is known" in faults["body.alerts[0].labels.service"]
        assert "whose rollouts is OrdersLost about?" in faults["body.alerts[2].labels.service"]
        await here.until(lambda: list(alarms(here)) == ["api/alertmanager/a1b2"])
        assert (await post(here, alert(), by="other")).status_code == 422
        truncated = await post(here, alert(), truncatedAlerts=7)
        assert (truncated.status_code, truncated.json()["faults"][0]["path"]) == (422, "body.truncatedAlerts")
        counts = {o: here.registry.get_sample_value("tidegate_api_alerts_total", {"outcome": o}) for o in ("taken", "refused")}
        assert counts == {"taken": 2, "refused": 4}


async def test_what_notify_posted_does_not_come_back(world):
    """``rollback_happened`` is critical: as an alarm from outside it would keep out the fix."""
    async with serving(world) as here:
        told = await post(here, *(alert(writer=writer, alertname="rollback_happened") for writer in ("decide", "judge", "api")))
        assert (told.status_code, told.json()["item"]["own"]) == (200, 3)
        assert [one for one in here.world.log.topic("alarms") if (one.key or "").startswith("api/")] == []


async def test_a_broker_that_does_not_answer_is_told_so_that_alertmanager_sends_it_again(world):
    async with serving(world) as here:
        here.world.log.lose_answers("alarms", False)
        assert (await post(here, alert())).status_code == 503
        assert (await post(here, alert())).status_code == 200
        await here.until(lambda: bool(alarms(here)))


async def test_what_is_not_told_again_for_too_long_is_over(world):
    async with serving(world, AlertSettings(lasts="1h")) as here:
        await post(here, alert(), alert(fingerprint="c3"))
        await here.until(lambda: len(alarms(here)) == 2)
        await here.control.alerts.tidy_now()
        assert len(alarms(here)) == 2
        here.mirror.told_ms["api/alertmanager/a1b2"] -= 3_600_001
        await here.control.alerts.tidy_now()
        await here.until(lambda: list(alarms(here)) == ["api/alertmanager/c3"])
        # What is told again in time is written again, so that every API process knows.
        here.mirror.told_ms["api/alertmanager/c3"] -= 900_001
        before = len(here.world.log.topic("alarms"))
        await post(here, alert(fingerprint="c3"))
        await post(here, alert(fingerprint="c3"))
        await here.until(lambda: here.mirror.now_ms - here.mirror.told_ms["api/alertmanager/c3"] < 60_000)
        assert len(here.world.log.topic("alarms")) == before + 1


async def test_what_was_over_long_ago_is_forgotten_and_nobody_stumbles_over_it(world):
    async with serving(world) as here:
        await post(here, alert())
        await post(here, alert("resolved"))
        await here.until(lambda: bool(here.mirror.told_ms) and not alarms(here))
        await here.control.alerts.tidy_now()
        assert here.world.log.topic("alarms")[-1].value is not None
        here.mirror.told_ms["api/alertmanager/a1b2"] -= REMEMBERED_MS
        await here.control.alerts.tidy_now()
        async with asyncio.timeout(20):
            while here.mirror.told_ms:
                await here.mirror.wait("nothing", 0.02)
        last = here.world.log.topic("alarms")[-1]
        assert (last.key, last.value) == ("api/alertmanager/a1b2", None)
        here.world.log.compact("alarms")
        assert (await here.start("ci", "p2", **here.upgrade())).status_code == 200, "the decision agent goes on"
        assert here.world.log.topic("deadletters") == []


async def test_of_each_service_so_many_are_kept_and_each_may_abort(world):
    async with serving(world) as here:
        await under_way(here)
        storm = [alert(fingerprint=f"{number:04x}", pod=f"pod-{number}") for number in range(150)]
        slow = [alert(fingerprint=f"a{number:04x}", severity="warning") for number in range(3)]
        for _ in range(2):
            told = await post(here, *storm, *slow)
            await here.until(lambda: len(alarms(here)) == OPEN_MAX + len(slow))
        assert told.json()["item"]["taken"] == 153
        last = await post(here, alert(fingerprint="ffff", tidegate="abort"))
        assert (last.status_code, len(last.json()["item"]["aborts"])) == (200, 1)
        await here.until(lambda: phase(here) is Phase.DONE)
        assert len(alarms(here)) == OPEN_MAX + len(slow)
        for _ in range(2):
            await post(here, *(alert("resolved", fingerprint=f"{number:04x}") for number in range(150)))
            await here.until(lambda: len(alarms(here)) == len(slow))
        assert len(ends(here)) == OPEN_MAX, "nothing is told of those that were never kept"


async def test_the_end_of_an_alert_that_was_never_kept_is_taken_and_written_nowhere(world):
    async with serving(world) as here:
        told = await post(here, *(alert("resolved", fingerprint=f"{number:04x}") for number in range(50)))
        assert (told.status_code, told.json()["item"]["taken"]) == (200, 50)
        assert [one for one in here.world.log.topic("alarms") if (one.key or "").startswith("api/")] == []


async def test_the_end_of_an_alert_whose_beginning_another_process_wrote_a_moment_ago_counts(world):
    async with serving(world) as here:
        begun = fires(made(alert()), None, critical=False)
        for _ in range(5):
            await here.log.append("alarms", begun.key, encode(begun))
            assert (await post(here, alert("resolved"))).status_code == 200
            await here.mirror.until_current(20)
            assert alarms(here) == {}
        assert len(ends(here)) == 5


async def test_while_the_log_is_not_read_an_end_whose_beginning_is_unknown_is_to_be_sent_again(world, monkeypatch):
    monkeypatch.setattr("tidegate.api.control.alerts.READ_WITHIN_S", 0.05)
    async with serving(world) as here:
        here.world.log.reachable = False
        assert (await post(here, alert("resolved"))).status_code == 503
        here.world.log.reachable = True
        monkeypatch.setattr("tidegate.api.control.alerts.READ_WITHIN_S", 20.0)
        assert (await post(here, alert("resolved"))).status_code == 200


async def test_what_is_not_remembered_any_more_is_forgotten_on_the_topic_too(world, monkeypatch):
    monkeypatch.setattr("tidegate.rollout.seen_alarms.ENDED_KEPT", 3)
    async with serving(world) as here:
        for number in range(5):
            await post(here, alert(start_s=number, fingerprint=f"{number:04x}"))
            await here.until(lambda: len(alarms(here)) == 1)
            await post(here, alert("resolved", start_s=number, fingerprint=f"{number:04x}"))
            await here.until(lambda: not alarms(here))
        await here.control.alerts.tidy_now()
        await here.mirror.until_current(20)
        left = {f"api/alertmanager/{number:04x}" for number in (2, 3, 4)}
        gone = [one.key for one in here.world.log.topic("alarms") if one.value is None]
        assert (set(here.mirror.told_ms), gone) == (left, ["api/alertmanager/0000", "api/alertmanager/0001"])
        await here.control.alerts.tidy_now()
        assert [one.key for one in here.world.log.topic("alarms") if one.value is None] == gone, "once"


async def test_hundreds_of_alerts_are_one_post_and_what_is_no_payload_is_refused(world):
    async with serving(world) as here:
        many = [alert(fingerprint=f"{number:04x}", pod=f"pod-{number}" * 8, severity="info") for number in range(400)]
        assert len(json.dumps(body(*many))) > 128 << 10
        assert (await post(here, *many)).json()["item"]["taken"] == 400
        for wrong in ({}, body(version="3"), body({"status": "firing"}), body(alert(fingerprint="../x")), body(alert("odd"))):
            told = await here.post("/alertmanager", "am", wrong)
            assert (told.status_code, told.json()["faults"] != []) == (400, True), wrong


@pytest.mark.parametrize(
    ("severity", "expected"),
    [("info", "info"), ("warning", "warning"), ("critical", "critical"), ("page", "critical"), ("", "critical")],
)
def test_what_is_neither_info_nor_warning_is_critical(severity, expected):
    assert fires(made(alert(severity=severity)), None, critical=False).severity == expected


def made(told: dict[str, Any]) -> Alert:
    return msgspec.convert(told, Alert)


def test_the_end_of_an_earlier_time_does_not_end_the_present_one():
    first = fires(made(alert()), None, critical=False)
    over = ended(made(alert("resolved")), first, critical=False, now_ms=0)
    assert over is not None
    assert (over.state, over.end_ms) == (AlarmState.RESOLVED, T0_MS + 5_000)
    second = fires(made(alert(start_s=60)), over, critical=False)
    assert (second.episodes, second.past) == (2, (Episode(T0_MS, T0_MS + 5_000),))
    assert ended(made(alert("resolved")), second, critical=False, now_ms=0) is None
    assert ended(made(alert("resolved")), over, critical=False, now_ms=0) is None


def test_what_does_not_fire_does_not_end():
    """Its start was never kept, there being so many: an end would be kept for a week, and its time be told as one that fired."""
    assert ended(made(alert("resolved")), None, critical=False, now_ms=0) is None
    over = ended(made(alert("resolved")), fires(made(alert()), None, critical=False), critical=False, now_ms=0)
    assert ended(made(alert("resolved", start_s=60)), over, critical=True, now_ms=0) is None


def test_the_end_of_a_later_time_ends_what_fires_since_an_earlier_one():
    first = fires(made(alert()), None, critical=False)
    over = ended(made(alert("resolved", start_s=60)), first, critical=True, now_ms=0)
    assert (over.state, over.start_ms, over.end_ms) == (AlarmState.RESOLVED, T0_MS + 60_000, T0_MS + 65_000)
    assert (over.episodes, over.past) == (2, (Episode(T0_MS, T0_MS + 60_000),))


def test_an_alert_whose_end_was_never_told_begins_its_next_time_where_the_last_one_ended():
    second = fires(made(alert(start_s=60)), fires(made(alert()), None, critical=False), critical=False)
    assert (second.start_ms, second.past) == (T0_MS + 60_000, (Episode(T0_MS, T0_MS + 60_000),))


def test_labels_are_bounded():
    many = {f"l{number:03}" * 80: "x" * 999 for number in range(40)}
    labels = fires(made(alert(**many)), None, critical=False).labels
    assert len(labels) == 16
    assert max(map(len, [*labels, *labels.values()])) == 256
