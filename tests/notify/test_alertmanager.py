"""A real Alertmanager takes our alarms, groups them and resolves them."""

import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.alarms.kit import alarm as made
from tests.notify.kit import CONSOLE, Plant
from tests.notify.server import Receiver, Server, until

from tidegate.notify.targets import alertmanager
from tidegate.rollout.events import IntentArrived
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.step import step
from tidegate.rollout.view import View
from tidegate.wire.codec import encode
from tidegate.wire.documents import Hush, Intent, Verb
from tidegate.wire.judgement import Alarm, AlarmState, Severity

pytestmark = pytest.mark.scenario


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def alarm(name: str = "coverage_lost", service: str = "shop", which: str = "", **changes: Any) -> Alarm:
    return made(name, service, which, **{"start_ms": now_ms(), **changes})


def over(one: Alarm) -> Alarm:
    return replace(one, state=AlarmState.RESOLVED, end_ms=now_ms())


def to(server: Server) -> dict[str, Any]:
    return {"kind": "alertmanager", "url": server.url}


async def test_it_takes_groups_and_resolves_them(plant: Plant, server: Server, hook: Receiver) -> None:
    alarms = [alarm(which=f"n{number}") for number in range(3)]
    async with plant.notify(to(server)):
        await plant.say(*alarms, alarm("environment", severity=Severity.CRITICAL))
        await until(lambda: len(hook.taken) == 2)
        by_name = {body["groupLabels"]["alertname"]: body for body in hook.taken}
        assert [one["labels"]["node"] for one in by_name["coverage_lost"]["alerts"]] == ["n0", "n1", "n2"]
        assert by_name["environment"]["receiver"] == "pager"
        assert by_name["coverage_lost"]["alerts"][0]["annotations"]["summary"] == "coverage_lost of shop n0"
        assert by_name["coverage_lost"]["alerts"][0]["generatorURL"] == f"{CONSOLE}/#/rollouts/shop"
        await plant.say(*(over(one) for one in alarms))
        await until(lambda: server.names() == ["environment"])
    # Its own interval decides when people hear of it.
    (held,) = server.alerts()
    assert held["labels"] == {
        "alertname": "environment",
        "service": "shop",
        "severity": "critical",
        "writer": "judge",
    }


async def test_what_fires_is_sent_again_and_ends_by_itself_where_notify_is_gone(
    plant: Plant, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alertmanager, "RESEND_MS", 300)
    monkeypatch.setattr(alertmanager, "ENDS_AFTER_MS", 1_500)
    async with plant.notify(to(server)):
        await plant.say(alarm())
        await until(server.names)
        ends: set[str] = set()
        await until(lambda: len(ends_seen(ends, server)) > 3)
    await until(lambda: not server.names(), within_s=10)


def ends_seen(ends: set[str], server: Server) -> set[str]:
    ends |= {one["endsAt"] for one in server.alerts()}
    return ends


async def test_two_processes_are_one_alert_and_one_notification(plant: Plant, server: Server, hook: Receiver) -> None:
    async with plant.notify(to(server)), plant.notify(to(server)):
        await plant.say(alarm())
        await until(lambda: hook.taken)
        await until(lambda: (plant.metric("tidegate_notify_notices_total", target="alertmanager", outcome="taken") or 0) >= 1)
    assert [len(body["alerts"]) for body in hook.taken] == [1]
    assert len(server.alerts()) == 1


async def test_a_silence_decided_by_decide_hides_and_its_end_shows(plant: Plant, server: Server) -> None:
    ledger = Ledger()
    hush = Intent(
        id="silence-1",
        fleet="local",
        subject="svc/fleet",
        verb=Verb.SILENCE,
        generation=0,
        actor="ann",
        reason="new switches",
        hush=Hush(service="shop", until_ms=now_ms() + 3_000),
        issued_ms=now_ms(),
    )
    (decision,) = step(ledger, View(), IntentArrived(hush), now_ms(), {})
    await plant.log.append("decisions", decision.subject, encode(decision))
    async with plant.notify(to(server)):
        await plant.say(alarm(), alarm(service="cart"))
        await until(lambda: plant.metric("tidegate_notify_alarms_hidden", why="silence") == 1)
        await until(server.names)
        assert {one["labels"]["service"] for one in server.alerts()} == {"cart"}
        await until(lambda: {one["labels"]["service"] for one in server.alerts()} == {"cart", "shop"})
    assert hush.hush is not None
    assert now_ms() >= hush.hush.until_ms


async def test_a_running_rollback_hides_what_it_explains(plant: Plant, server: Server) -> None:
    rollback = alarm("rollback_happened", severity=Severity.CRITICAL, writer="decide")
    async with plant.notify(to(server)):
        await plant.say(alarm("limit_broken"))
        await until(lambda: server.names() == ["limit_broken"])
        await plant.say(rollback)
        await until(lambda: server.names() == ["rollback_happened"])
        await plant.say(over(rollback))
        await until(lambda: server.names() == ["limit_broken"])
