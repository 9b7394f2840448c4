"""docs/asyncapi.yaml: whole, and true of what really is on the topics."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator
from tests.cli.conftest import world  # noqa: F401 - the fixture
from tests.cli.kit import World
from tests.describe.records import document, why_none

from tidegate.wire.messages import MESSAGES
from tidegate.wire.nodeseconds import NodeSeconds
from tidegate.wire.telemetry import Histogram, Telemetry, encode_json, encode_msgpack
from tidegate.wire.topics import BY_NAME, TOPICS

PARSER = "@asyncapi/parser@3.6.3"
ROW = Telemetry(
    node="n1",
    service="shop",
    boot="b1",
    seq=1,
    version="v1",
    start_ms=1_000,
    requests=2,
    latency=Histogram(offset=-80, counts=[1, 1]),
)
PLAN = """
service: shop
artifact: {version: v1, path: shop.py}
stages: [{setWeight: 100, bake: 0s, minRequests: 0}]
watch: 0s
"""


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_every_topic_says_what_travels_on_it():
    assert set(MESSAGES) == set(BY_NAME)


def test_who_writes_and_who_reads_stands_in_the_operations():
    told = {(name.split(".")[0], one["action"], one["channel"]["$ref"]) for name, one in document()["operations"].items()}
    table = {(role, "send", f"#/channels/{topic.name}") for topic in TOPICS for role in topic.writers}
    assert told == table | {(role, "receive", f"#/channels/{topic.name}") for topic in TOPICS for role in topic.readers}


def test_every_reference_leads_somewhere():
    for reference in set(references(document())):
        place = document()
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


@pytest.mark.parametrize("name", sorted(document()["components"]["schemas"]))
def test_every_schema_is_one_of_draft_07(name):
    Draft7Validator.check_schema(document()["components"]["schemas"][name])


@pytest.mark.parametrize("value", [encode_json(ROW), encode_msgpack(ROW)], ids=["JSON", "MessagePack"])
def test_telemetry_of_both_forms_is_as_published(value):
    assert why_none("telemetry", value) == {}


def test_what_is_none_of_the_messages_is_told():
    assert "requests" in why_none("telemetry", encode_json(ROW).replace(b'"requests":2', b'"requests":-2'))["Telemetry"]
    assert why_none("nodeseconds", msgspec.msgpack.encode(NodeSeconds(marks={1: 2}))) == {}
    assert why_none("nodeseconds", msgspec.msgpack.encode({"kind": "rows", "services": "shop"}))
    assert why_none("plans", b'{"payloadType": "text/plain", "payload": "e30=", "signatures": []}')


def test_what_a_fleet_really_writes_is_as_published(world: World):  # noqa: F811 - the fixture
    """A first install: commands, reports, decisions, keys."""
    world.artifact("shop.py")
    assert world.type("rollout", "start", world.plan(PLAN), "--wait", "--timeout", "60s").code == 0
    records = [(topic.name, record.value) for topic in TOPICS for record in world.log.topic(topic.name) if record.value]
    assert {"keys", "plans", "decisions", "desired", "reports", "nodeseconds"} <= {topic for topic, _ in records}
    assert [(topic, wrong) for topic, value in records if (wrong := why_none(topic, value))] == []


@pytest.mark.thorough
def test_the_parser_of_asyncapi_finds_nothing(tmp_path):
    """Needs node, and the registry that npm knows."""
    script = """
        import { Parser } from '@asyncapi/parser'; import fs from 'fs';
        const { diagnostics } = await new Parser().parse(fs.readFileSync(0, 'utf8'));
        console.log(JSON.stringify(diagnostics.map(one => `${one.path.join('.')}: ${one.message}`)));
    """
    (tmp_path / "check.mjs").write_text(script)
    (tmp_path / "package.json").write_text("{}")
    subprocess.run(["npm", "install", "--silent", PARSER], cwd=tmp_path, check=True)
    for text, faulty in ((json.dumps(document()), False), (json.dumps(document() | {"info": {"title": "x"}}), True)):
        ran = subprocess.run(["node", "check.mjs"], input=text, cwd=tmp_path, check=True, capture_output=True, text=True)
        assert bool(json.loads(ran.stdout)) == faulty, ran.stdout
