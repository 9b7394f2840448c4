"""Real Prometheus and real Alertmanager beside the whole system on real Kafka: an alert aborts a rollout, every picture has data.

The tests share one system and follow one another.
"""

import asyncio
import contextlib
import datetime as dt
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.notify.server import Server, until
from tests.prometheus.dashboards import DASHBOARDS
from tests.prometheus.kit import Shop, Watched, flat, watching
from tests.prometheus.panels import KAFKA_TYPE
from tests.prometheus.roles import metrics
from tests.prometheus.server import DEPLOYED, Prometheus, promtool

from tidegate.broker.local import free_ports
from tidegate.demo.checkout import FLAG, write_flag
from tidegate.demo.releases import SERVICE
from tidegate.demo.shop import EXPRESS_MENDED
from tidegate.ports import Record
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.names import service_subject

pytestmark = [pytest.mark.kafka, pytest.mark.scenario, pytest.mark.asyncio(loop_scope="module")]

SERVERS = 4
WITHIN_S = 60
LOOK_EVERY_S = 0.5
RECORDED = [
    rule["record"]
    for group in yaml.safe_load((DEPLOYED / "rules/recording.yml").read_text())["groups"]
    for rule in group["rules"]
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """Every role, v1 installed, under load; servers follow flags."""
    async with contextlib.AsyncExitStack() as stack:
        system = Watched(tmp_path_factory.mktemp("system"), SERVERS, broker.bootstrap)
        system.alertmanager = f"127.0.0.1:{free_ports(1)[0]}"
        stack.push_async_callback(system.stop)
        await system.start()
        await system.until(lambda: system.served, WITHIN_S, "the address of every role")
        yield system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(
    system: Watched, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Watched, Prometheus, Server, Shop]]:
    """Prometheus asks everybody once a second."""
    async with watching(tmp_path_factory.mktemp("watching"), system) as (prometheus, alertmanager, shop):
        yield system, prometheus, alertmanager, shop


def plan(bake_s: int) -> dict[str, object]:
    stages = [{"setNodes": 1, "bake": f"{bake_s}s", "minRequests": 50}, {"setWeight": 100, "bake": "1s", "minRequests": 50}]
    return {"stages": stages}


async def test_an_alert_of_prometheus_aborts_the_rollout_and_its_end_frees_the_next(watched, say):
    system, _, alertmanager, shop = watched
    await system.roll_out(system.artifact("v2"), plan(bake_s=600))
    await system.until(lambda: system.count(DecisionKind.BAKE) == 1, WITHIN_S, "the canary in its bake")
    lost_s = time.time()
    shop.orders_lost.set(3)
    await system.until(lambda: system.result is not None, WITHIN_S, "the end of the rollout")

    at_ms, back = next((at_ms, one) for at_ms, one in system.of_rollout() if one.kind is DecisionKind.ROLLBACK)
    (alert,) = (one for one in alertmanager.alerts() if one["labels"]["alertname"] == "OrdersLost")
    raised_s = dt.datetime.fromisoformat(alert["startsAt"]).timestamp()
    command_s = system.watch.retreat(round(lost_s * 1_000)).at_ms / 1_000
    after = {"alert raised": raised_s, "decided": at_ms / 1_000, "commanded": command_s}
    told = ", ".join(f"{what} {at_s - lost_s:.1f} s" for what, at_s in after.items())
    say(f"after orders were lost: {told}; from alert to command {command_s - raised_s:.2f} s")
    assert system.result is Result.ABORTED
    assert (back.actor, back.message.partition(".")[0]) == ("alertmanager", "OrdersLost fires: 3 orders are lost")
    assert command_s >= raised_s

    shop.orders_lost.set(0)
    shop.carts_slow.set(1)
    await until(lambda: _fires(system) == {"CartsSlow"}, WITHIN_S)
    assert len([one for _, one in system.decisions if one.actor == "alertmanager"]) == 1


def _asked(system: Watched, path: str, body: bytes | None = None) -> Any:
    headers = {"Authorization": f"Bearer {system.person}"}
    request = urllib.request.Request(system.api.removesuffix("/api/v1") + path, body, headers)  # noqa: S310 - our own
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own
        return json.load(answer)


def _fires(system: Watched) -> set[str]:
    """Names of alarms from outside."""
    found = _asked(system, "/api/v1/alarms")
    return {one["name"] for one in found["items"] if one["key"].startswith("api/")}


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of every picture and every mark, with what Grafana fills in."""
    for name, make in DASHBOARDS.items():
        board = make()
        parts = [(panel["title"], query) for panel in board["panels"] for query in panel["targets"]]
        parts += [(mark["name"], mark) for mark in board["annotations"]["list"] if (name, mark["name"]) != ("flags", "Back")]
        for title, query in parts:
            if query["datasource"]["type"] == "prometheus":
                filled = query["expr"].replace("$__rate_interval", "5m").replace("$service", "shop").replace("$set", "shop")
                assert "$" not in filled
                yield f"{name}: {title}", filled


async def test_every_role_is_asked_and_every_expression_and_every_recording_rule_has_data(watched, say):
    system, prometheus, _, _ = watched
    began_s = time.monotonic()
    stages = ({"setWeight": 50, "bake": "600s", "minExposures": 1_000_000}, {"setWeight": 100, "bake": "1s", "minExposures": 1})
    flag = write_flag(system.folder / "flags", "good", stages, EXPRESS_MENDED)
    await system.command("flag", "set", FLAG, "-f", str(flag), "--reason", "a test")
    await system.roll_out(system.artifact("v3"), plan(bake_s=600))
    await system.log.append("telemetry", "nobody", b"no telemetry")
    await asyncio.to_thread(_asked, system, "/ofrep/v1/evaluate/flags", b'{"context": {"targetingKey": "u1"}}')
    wanted = {*expressions(), *((f"recorded: {one}", one) for one in RECORDED)}
    missing, deadline_s = set(wanted), time.monotonic() + WITHIN_S
    while missing:
        missing = {one for one in missing if not await asyncio.to_thread(prometheus.query, one[1])}
        assert time.monotonic() < deadline_s, f"no data: {sorted(title for title, _ in missing)}"
        await asyncio.sleep(LOOK_EVERY_S)
    say(f"{len(wanted)} expressions, all with data {time.monotonic() - began_s:.0f} s after the rollout was begun")
    health = prometheus.targets()
    assert {role: health[role] for role in system.roles} == {role: {"up"} for role in system.roles}
    assert set(prometheus.firing()) - {"CartsSlow", "TidegateDeadLetters"} == set()


async def test_what_each_role_shows_is_what_the_page_says_and_prometheus_finds_no_fault_with_it(watched):
    system, *_ = watched
    for role, told in (await asyncio.to_thread(metrics)).items():
        documented = {one.name: {*one.labels} for one in told}
        for address in system.roles[role]:
            text = await asyncio.to_thread(lambda at=address: urllib.request.urlopen(f"http://{at}/metrics", timeout=10).read())
            await asyncio.to_thread(promtool, "check", "metrics", text=text.decode())
            families = text_string_to_metric_families(text.decode())
            ours = (one for one in families if one.name.startswith("tidegate_") and not one.name.endswith("_created"))
            shown = {_name(one): one for one in ours}
            assert set(shown) == set(documented), role
            for name, family in shown.items():
                labels = {label for sample in family.samples for label in sample.labels}
                assert labels <= documented[name], name


def _name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


async def test_decisions_are_marked_at_the_millisecond_at_which_they_were_made(watched):
    system, prometheus, _, _ = watched
    await system.command("flag", "kill", FLAG, "--reason", "a test")
    (mark,) = (one for one in DASHBOARDS["flags"]()["annotations"]["list"] if one["name"] == "Back")
    killed = mark["expr"].replace("$set", "shop")
    await until(lambda: prometheus.query(killed), WITHIN_S)
    last = {(one.subject, one.kind): at_ms for at_ms, one in system.decisions}
    assert prometheus.value(killed) == pytest.approx(last[f"flag/{FLAG}", DecisionKind.KILL], abs=0.5)
    marked = prometheus.value('tidegate_decision_timestamp_seconds{subject="svc/shop", kind="rollback"} * 1000')
    assert marked == pytest.approx(last[service_subject(SERVICE), DecisionKind.ROLLBACK], abs=0.5)


async def test_records_are_such_as_grafanas_kafka_plugin_reads(watched):
    """Flat, of one type for each field however round a number is, never null; stamped with the end of what they tell."""
    system, *_ = watched
    reader = await system.log.reader(("kpis", "scores", "verdicts"))
    records = await reader.read_to_end()
    await reader.close()
    by_topic: dict[str, list[Record]] = {}
    for record in records:
        by_topic.setdefault(record.topic, []).append(record)
    assert {topic: len(found) > 10 for topic, found in by_topic.items()} == dict.fromkeys(("kpis", "scores", "verdicts"), True)
    types: dict[tuple[str, str], set[str]] = {}
    for record in records:
        for field, value in flat(record.value).items():
            types.setdefault((record.topic, field), set()).add(value[0] if isinstance(value, tuple) else type(value).__name__)
    assert {at: kinds for at, kinds in types.items() if len(kinds) > 1} == {}
    nested = {at for at, kinds in types.items() if kinds & {"list", "dict", "NoneType"}}
    assert {topic for topic, _ in nested} <= {"verdicts"}, "in verdicts the plugin shows a list as text"
    for topic in ("kpis", "scores"):
        assert {record.time_ms - json.loads(record.value)["end_ms"] for record in by_topic[topic]} == {0}
    for panel in DASHBOARDS["live"]()["panels"]:
        (query,) = panel["targets"]
        assert query["datasource"]["type"] == KAFKA_TYPE
        topic, (_, *fields) = query["topicName"].removeprefix("tidegate."), _named(panel)
        assert all(types[topic, field] <= {"float", "int"} for field in fields), panel["title"]


def _named(panel) -> list[str]:
    (only,) = panel["transformations"]
    return only["options"]["include"]["names"]
