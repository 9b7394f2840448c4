from typing import get_args

import pytest

from tidegate.wire.topics import BY_NAME, FOREVER_MS, TELEMETRY_PARTITIONS, TOPICS, Role

DESIGN = {
    "telemetry": 12,
    "otlp": 4,
    "nodeseconds": 12,
    "kpis": 12,
    "scores": 12,
    "checkpoints": 12,
    "verdicts": 1,
    "exposures": 12,
    "experiments": 1,
    "plans": 1,
    "intents": 1,
    "decisions": 1,
    "desired": 1,
    "keys": 1,
    "reports": 4,
    "flags": 1,
    "alarms": 1,
    "deadletters": 1,
}


def test_the_table_holds_every_topic_of_the_design_once_with_its_partitions():
    assert {topic.name: topic.partitions for topic in TOPICS} == DESIGN
    assert len(BY_NAME) == len(TOPICS)
    assert BY_NAME["telemetry"].partitions == TELEMETRY_PARTITIONS


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_has_writers_and_readers_that_are_roles(topic):
    assert topic.writers
    assert topic.readers
    assert {*topic.writers, *topic.readers} <= {*get_args(Role)}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_what_is_compacted_is_kept_for_ever(topic):
    config = topic.config()
    assert config["cleanup.policy"] == ("compact" if topic.compacted else "delete")
    assert not topic.compacted or topic.retention_ms == FOREVER_MS
    assert all(isinstance(value, str) for value in config.values())


@pytest.mark.parametrize("name", ["telemetry", "otlp", "nodeseconds"])
def test_topics_whose_order_in_time_is_judged_carry_append_times(name):
    assert BY_NAME[name].config()["message.timestamp.type"] == "LogAppendTime"


@pytest.mark.parametrize("name", ["kpis", "scores"])
def test_what_grafana_reads_carries_the_end_of_its_pane(name):
    assert BY_NAME[name].config()["message.timestamp.type"] == "CreateTime"


def test_the_judge_never_acts_and_the_decider_never_judges():
    written = {role: {topic.name for topic in TOPICS if role in topic.writers} for role in ("judge", "decide")}
    assert written["judge"] & {"desired", "decisions", "flags", "plans", "intents"} == set()
    assert written["decide"] & {"verdicts", "kpis", "scores", "checkpoints"} == set()
    assert [topic.name for topic in TOPICS if topic.writers == ("decide",)] == ["decisions", "flags"]
