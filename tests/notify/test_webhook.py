"""Signed webhooks on real sockets: signatures, retries, restarts, ids (Standard Webhooks)."""

import base64
import hashlib
import hmac
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.alarms.kit import alarm as made
from tests.alarms.kit import over
from tests.node.kit import free_port
from tests.notify import kit
from tests.notify.kit import CONSOLE, FAST, SECRET, Plant, webhook
from tests.notify.server import Receiver, receiving, until

from tidegate.alarms.notices import Policy
from tidegate.notify import Place, build, desk
from tidegate.notify.desk import RETRY_FIRST_S
from tidegate.notify.targets.webhook import key_of, sign
from tidegate.notify.words import labels, link
from tidegate.runtime.problem import Problem
from tidegate.wire.judgement import INBOUND_WRITER, Alarm
from tidegate.world import MemoryDisk


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def alarm(which: str = "") -> Alarm:
    """One that fires now."""
    return made(which=which, start_ms=time.time_ns() // 1_000_000)


def verified(receiver: Receiver, secret: str = SECRET) -> bool:
    """As a receiver of ours is to do it: written from the specification, not from our code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    for at, headers, body, _ in receiver.posts:
        told = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(key, told, hashlib.sha256).digest()).decode()
        if headers["webhook-signature"] != f"v1,{expected}" or abs(int(headers["webhook-timestamp"]) - at) > 5:
            return False
    return bool(receiver.posts)


async def test_a_notice_is_signed_as_the_specification_has_it_and_reads_like_alertmanagers(plant: Plant) -> None:
    with receiving() as receiver:
        async with plant.notify(webhook(receiver.url)):
            n1 = alarm("n1")
            await plant.say(n1, alarm("n2"))
            await until(lambda: receiver.taken)
            await plant.say(over(n1, 1))
            await until(lambda: len(receiver.taken) == 2)
    assert verified(receiver)
    assert not verified(receiver, "whsec_" + base64.b64encode(b"another secret of 24 bytes").decode())
    first, second = receiver.taken
    assert (first["status"], first["version"], first["groupKey"]) == ("firing", "4", "shop/coverage_lost")
    assert first["groupLabels"] == {"alertname": "coverage_lost", "service": "shop"}
    assert [one["labels"]["node"] for one in first["alerts"]] == ["n1", "n2"]
    assert [(one["labels"]["node"], one["status"]) for one in second["alerts"]] == [("n2", "firing"), ("n1", "resolved")]
    assert first["commonAnnotations"]["summary"].startswith("coverage_lost of shop (2 alarms)")
    assert (first["externalURL"], first["alerts"][0]["generatorURL"]) == (CONSOLE, f"{CONSOLE}/#/rollouts/shop")


async def test_a_receiver_that_fails_is_tried_again_with_the_same_id(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "RETRY_FIRST_S", 0.05)
    with receiving() as receiver:
        receiver.answers = [500, 503, 429, 404]
        async with plant.notify(webhook(receiver.url)):
            await plant.say(alarm("n1"))
            await until(lambda: receiver.taken)
            await until(lambda: plant.metric("tidegate_notify_failing", target="chat") == 0)
            assert plant.metric("tidegate_notify_notices_total", target="chat", outcome="failed") == 4
            assert plant.metric("tidegate_notify_notices_total", target="chat", outcome="taken") == 1
    assert [status for *_, status in receiver.posts] == [500, 503, 429, 404, 200]
    assert len({headers["webhook-id"] for _, headers, _, _ in receiver.posts}) == 1
    assert verified(receiver)


async def test_a_receiver_that_comes_back_is_told_once_how_things_are(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "RETRY_FIRST_S", 0.05)
    port = free_port()
    url = f"http://127.0.0.1:{port}/hook"
    async with plant.notify(webhook(url)):
        gone, stays = alarm("n1"), alarm("n2")
        await plant.say(gone)
        await until(lambda: (plant.metric("tidegate_notify_failing", target="chat") or 0) >= 2)
        assert plant.metric("tidegate_notify_waiting", target="chat") == 1
        await plant.say(over(gone, 1), stays)
        with receiving(port) as receiver:
            await until(lambda: receiver.taken)
            await until(lambda: plant.metric("tidegate_notify_waiting", target="chat") == 0)
    assert [[one["labels"]["node"] for one in body["alerts"]] for body in receiver.taken] == [["n2"]]


async def test_one_target_that_is_away_does_not_hold_up_another(plant: Plant) -> None:
    with receiving() as receiver:
        away = webhook(f"http://127.0.0.1:{free_port()}/", "away")
        async with plant.notify(away, webhook(receiver.url)):
            await plant.say(alarm("n1"))
            began_s = time.monotonic()
            await until(lambda: receiver.taken)
    assert time.monotonic() - began_s < FAST.wait_ms / 1_000 + RETRY_FIRST_S


async def test_a_restart_tells_nothing_twice_and_nothing_less(plant: Plant) -> None:
    disk = MemoryDisk()
    with receiving() as receiver:
        stays, ends = alarm("n1"), alarm("n2")
        async with plant.notify(webhook(receiver.url), disk=disk):
            await plant.say(stays, ends)
            await until(lambda: receiver.taken)
        await plant.say(over(ends, 1))
        async with plant.notify(webhook(receiver.url), disk=disk):
            await until(lambda: len(receiver.taken) == 2)
    assert [[one["status"] for one in body["alerts"]] for body in receiver.taken] == [["firing"] * 2, ["firing", "resolved"]]


async def test_what_two_processes_send_and_what_is_sent_after_a_lost_note_has_one_id(plant: Plant) -> None:
    with receiving() as receiver:
        await plant.say(alarm("n1"), alarm("n2"))
        async with plant.notify(webhook(receiver.url)), plant.notify(webhook(receiver.url)):
            await until(lambda: len(receiver.taken) == 2)
        # A disk that lost what was told: at least once, never less.
        async with plant.notify(webhook(receiver.url)):
            await until(lambda: len(receiver.taken) == 3)
    assert len({headers["webhook-id"] for _, headers, _, _ in receiver.posts}) == 1


async def test_no_log_line_holds_a_secret_or_the_token_of_an_address(
    plant: Plant, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "RETRY_FIRST_S", 0.05)
    caplog.set_level(logging.DEBUG)
    with receiving() as receiver:
        receiver.answers = [500, 302]
        refused = webhook(f"http://127.0.0.1:{free_port()}/?token=do-not-tell", "refused")
        async with plant.notify(webhook(receiver.url), refused):
            await plant.say(alarm("n1"))
            await until(lambda: receiver.taken)
            await until(lambda: (plant.metric("tidegate_notify_failing", target="refused") or 0) >= 2)
    said = caplog.text + "".join(capsys.readouterr())
    assert "a target does not take notices" in said
    assert SECRET.removeprefix("whsec_") not in said
    assert "do-not-tell" not in said


async def test_five_hundred_alarms_are_one_body_that_names_a_hundred(plant: Plant) -> None:
    with receiving() as receiver:
        async with plant.notify(webhook(receiver.url), policy=replace(FAST, wait_ms=2_000)):
            await plant.say(*(alarm(f"n{number:03}") for number in range(500)))
            await until(lambda: receiver.taken)
    (body,) = receiver.taken
    assert (len(body["alerts"]), body["truncatedAlerts"]) == (100, 400)
    assert len(json.dumps(body)) < 100_000


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"kind": "pigeon"}, r"targets\[0\].kind: expected one of alertmanager, apprise, webhook"),
        ({"kind": "webhook", "name": "chat", "url": "http://a"}, r"targets\[0\].*secret"),
        ({"kind": "webhook", "name": "chat", "url": "http://a", "secret": "whsec_abc"}, "never as itself"),
        ({"kind": "webhook", "name": "chat", "url": "http://a", "secret": "file:none"}, "no secret can be read"),
        ({"kind": "webhook", "name": "chat", "url": "http://a", "secret": "env:NOT_THERE"}, "NOT_THERE"),
        ({"kind": "webhook", "name": "chat", "url": "http://a", "secret": "file:open.secret"}, "others can read it"),
        ({"kind": "webhook", "name": "chat", "url": "http://a", "secret": "file:short.secret"}, "shorter than 24"),
        ({"kind": "webhook", "name": "chat", "url": "ftp://a", "secret": "file:hook.secret"}, "must be http"),
        ({"kind": "alertmanager", "url": "http://me:pass@a"}, "without spaces, user and password"),
        ({"kind": "alertmanager", "url": "http://a/b c"}, "without spaces, user and password"),
        ({"kind": "alertmanager", "ulr": "http://a"}, "ulr"),
    ],
)
def test_a_target_that_cannot_work_is_refused_with_its_path(plant: Plant, entry: dict[str, Any], told: str) -> None:
    for name, text, mode in (("open.secret", SECRET, 0o644), ("short.secret", "abc", 0o600)):
        (plant.folder / name).write_text(text)
        (plant.folder / name).chmod(mode)
    with pytest.raises(Problem, match=told):
        build([entry], Policy(), Place(plant.folder))


def test_two_targets_have_two_names(plant: Plant) -> None:
    with pytest.raises(Problem, match="one name"):
        build([webhook("http://a"), kit.webhook("http://b")], Policy(), Place(plant.folder))


class FullDisk(MemoryDisk):
    """Takes nothing."""

    def write(self, name: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")


async def test_what_others_raised_is_told_by_those_who_raised_it(plant: Plant) -> None:
    """An alert that came in by Alertmanager's webhook would go back to Alertmanager otherwise, and round and round."""
    with receiving() as receiver:
        async with plant.notify(webhook(receiver.url)):
            await plant.say(replace(alarm("n1"), writer=INBOUND_WRITER), alarm("n2"))
            await until(lambda: receiver.taken)
    assert [[one["labels"]["node"] for one in body["alerts"]] for body in receiver.taken] == [["n2"]]


async def test_a_full_disk_costs_no_notice(plant: Plant) -> None:
    with receiving() as receiver:
        one = alarm("n1")
        async with plant.notify(webhook(receiver.url), disk=FullDisk()):
            await plant.say(one)
            await until(lambda: receiver.taken)
            await plant.say(over(one, 1))
            await until(lambda: len(receiver.taken) == 2)
    assert [body["status"] for body in receiver.taken] == ["firing", "resolved"]


@pytest.mark.parametrize(
    ("about", "page"),
    [
        ({"service": "shop", "subject": "svc/shop"}, "rollouts/shop"),
        ({"service": "shop", "subject": "flag/web/dark"}, "flags/web/dark"),
        ({"service": ""}, "alarms"),
        ({"service": "a b?#/.."}, "rollouts/a%20b%3F%23/.."),
    ],
)
def test_a_notice_links_to_what_it_is_about(about: dict[str, str], page: str) -> None:
    assert link("https://tide.example/", made(**about)) == f"https://tide.example/#/{page}"
    assert link("", made(**about)) == ""


def test_label_names_are_such_as_alertmanager_takes() -> None:
    assert labels(made(labels={"zone-name": "a", "9lives": "b", "cohort": "canary"})) == {
        "zone_name": "a",
        "_9lives": "b",
        "cohort": "canary",
        "alertname": "coverage_lost",
        "service": "shop",
        "severity": "warning",
        "writer": "judge",
    }


def test_the_signature_is_that_of_the_libraries_of_standard_webhooks() -> None:
    """The vector of their own tests."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    told = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert told == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
