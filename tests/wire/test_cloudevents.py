import pytest

from tidegate.wire.cloudevents import EVENTS, event_headers
from tidegate.wire.topics import BY_NAME


@pytest.mark.parametrize("topic", EVENTS)
def test_every_record_of_a_control_topic_is_an_event_with_the_attributes_that_must_be_there(topic):
    headers = event_headers(topic, "svc/shop", b"{}", "decide")
    assert topic in BY_NAME
    assert {"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "content-type"} == set(headers)
    assert headers["ce_specversion"] == b"1.0"


def test_a_record_sent_again_is_the_same_event_and_another_value_another_one():
    one, again, other = (event_headers("desired", "k", value, "decide")["ce_id"] for value in (b"1", b"1", b"2"))
    assert one == again != other


def test_a_tombstone_and_telemetry_are_no_events():
    assert event_headers("desired", "k", None, "decide") == {}
    assert event_headers("telemetry", "n1", b"{}", "sdk") == {}
    assert event_headers("kpis", "shop", b"{}", "judge") == {}
