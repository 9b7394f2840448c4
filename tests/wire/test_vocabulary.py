import json
import re

import pytest

from tidegate.wire.codec import Malformed, convert, decode, encode
from tidegate.wire.documents import Order
from tidegate.wire.judgement import Kpi
from tidegate.wire.names import share_of
from tidegate.wire.partition import murmur2
from tidegate.wire.plans import Plan, faults
from tidegate.wire.reasons import Reason
from tidegate.wire.topics import TOPICS

PLAN = {
    "kind": "Rollout",
    "id": "p",
    "fleet": "f",
    "service": "shop",
    "artifact": {"version": "v2", "sha256": "a" * 64},
    "rollback": {"artifact": {"version": "v1", "sha256": "b" * 64}},
    "stages": [{"setNodes": 1}, {"setWeight": 100}],
    "expiresMs": 1,
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    ],
)
def test_murmur2_is_kafkas(key, value):
    assert murmur2(key.encode()) == value & 0xFFFFFFFF


def test_a_sound_plan_has_no_faults():
    assert faults(convert(PLAN, Plan)) == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"stages": [{"setNodes": 1, "setWeight": 5}, {"setWeight": 100}]}, "stages[0]"),
        ({"stages": [{}, {"setWeight": 100}]}, "stages[0]"),
        ({"stages": [{"setNodes": 1}]}, "stages[0].setWeight"),
        ({"stages": [{"setNodes": 3}, {"setNodes": 2}, {"setWeight": 100}]}, "stages[1].setNodes"),
        ({"guardrails": [{"metric": "p95"}]}, "guardrails[0]"),
        ({"guardrails": [{"metric": "p95", "max": 1, "maxRatioToControl": 2}]}, "guardrails[0]"),
        ({"guardrails": [{"metric": "p95", "max": 1, "of": "3/2"}]}, "guardrails[0].of"),
        ({"rollback": {"artifact": {"version": "v2", "sha256": "b" * 64}}}, "rollback.artifact.version"),
    ],
)
def test_what_types_cannot_see_is_told_by_its_path(change, path):
    assert [at for at, _ in faults(convert(PLAN | change, Plan))] == [path]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"guardrail": []}, ""),
        ({"stages": []}, "stages"),
        ({"stages": [{"setNode": 1}]}, "stages[0]"),
        ({"artifact": {"version": "v2", "sha256": "short"}}, "artifact.sha256"),
        ({"watch": "5 minutes"}, "watch"),
        ({"guardrails": [{"metric": "errors"}]}, "guardrails[0].metric"),
    ],
)
def test_misspelt_words_are_refused_by_their_path(change, path):
    with pytest.raises(Malformed) as raised:
        convert(PLAN | change, Plan)
    assert raised.value.path == path


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_no_document_carries_a_number_that_is_none(number):
    with pytest.raises(Malformed, match=r"a\[0\]\.b"):
        encode({"a": [{"b": number}]})


def test_equal_values_give_equal_bytes_whatever_the_order_of_keys():
    assert encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1})
    assert decode(encode({"b": 1}), dict) == {"b": 1}


def test_order_is_root_version_then_epoch_then_generation():
    assert Order(1, 9, 9) < Order(2, 0, 0)
    assert Order(1, 1, 9) < Order(1, 2, 0)
    assert Order(1, 1, 1) < Order(1, 1, 2)


@pytest.mark.parametrize(("share", "whole", "nodes"), [("10%", 5, 1), ("50%", 5, 2), ("100%", 5, 5), ("7", 5, 5), ("0%", 5, 1)])
def test_a_share_is_rounded_down_and_at_least_one(share, whole, nodes):
    assert share_of(share, whole) == nodes


def test_every_topic_has_writers_and_readers_and_control_topics_one_partition():
    for topic in TOPICS:
        assert topic.writers
        assert topic.readers
    names = [topic.name for topic in TOPICS]
    assert len(names) == len(set(names))
    one = {"plans", "intents", "decisions", "desired", "keys", "flags", "alarms", "verdicts"}
    assert {topic.name for topic in TOPICS if topic.partitions == 1} >= one
    judged = {topic.name: topic for topic in TOPICS}
    assert "judge" not in judged["desired"].writers
    assert "decide" not in judged["verdicts"].writers


def test_a_kpi_is_one_flat_object_without_arrays_and_floats_stay_floats():
    kpi = Kpi(
        service="s",
        cohort="rest",
        subject="svc/s",
        placement="",
        version="v",
        window_s=1,
        start_ms=0,
        end_ms=1000,
        requests=3,
        errors=0,
        nodes=1,
        nodes_expected=1,
        coverage=1.0,
        rate=3.0,
        error_ratio=0.0,
        p50_ms=1.0,
        p95_ms=1.0,
        p99_ms=1.0,
        values={"gauge.queue": 2.0},
    )
    text = kpi.flat().decode()
    fields = json.loads(text)
    assert not any(isinstance(value, list | dict) for value in fields.values())
    assert fields["gauge.queue"] == 2.0
    assert re.search(r'"rate":3\.0', text)


def test_reasons_are_words_for_labels():
    assert all(re.fullmatch(r"[a-z0-9_]+", reason) for reason in Reason)
