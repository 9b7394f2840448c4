"""What a plan may ask of probes (I2), and how a mistake is named."""

import pytest
from tests.wire.test_plans import document

from tidegate.wire.codec import Malformed, convert, decode_strict, encode
from tidegate.wire.plans import Plan, faults
from tidegate.wire.probes import Probe, same_question

SOUND = [
    {"http": "/health"},
    {"http": "/cart?probe=1", "status": 204, "interval": "100ms", "timeout": "250ms", "counts": True},
    {"http": "/api", "method": "POST", "headers": {"Content-Type": "application/json"}, "body": "{}", "contains": "ok"},
    {"tcp": True, "interval": "60s", "timeout": "10s"},
]


@pytest.mark.parametrize("probe", SOUND, ids=str)
def test_a_sound_probe_comes_back_as_signed(probe):
    plan = convert(document(probe=probe), Plan)
    assert faults(plan) == []
    assert decode_strict(encode(plan), Plan) == plan


def test_a_plan_without_one_is_signed_as_before():
    assert b"probe" not in encode(convert(document(), Plan))


@pytest.mark.parametrize(
    ("probe", "path"),
    [
        ({"htpp": "/health"}, "probe"),
        ({"http": "health"}, "probe.http"),
        ({"http": "http://elsewhere/"}, "probe.http"),
        ({"http": "/two words"}, "probe.http"),
        ({"http": "/a\r\nHost: b"}, "probe.http"),
        ({"http": "/", "method": "PUT"}, "probe.method"),
        ({"http": "/", "status": 101}, "probe.status"),
        ({"http": "/", "headers": {"X": "a\nb"}}, "probe.headers"),
        ({"http": "/", "interval": "often"}, "probe.interval"),
        ({"http": "/", "counts": "yes"}, "probe.counts"),
    ],
)
def test_what_types_can_see_is_refused_with_its_path(probe, path):
    with pytest.raises(Malformed) as raised:
        convert(document(probe=probe), Plan)
    assert path in f"{raised.value.path}: {raised.value.problem}"


@pytest.mark.parametrize(
    ("probe", "paths"),
    [
        ({}, ["probe"]),
        ({"http": "/", "tcp": True}, ["probe"]),
        ({"tcp": True, "status": 200, "contains": "x"}, ["probe.status", "probe.contains"]),
        ({"http": "/", "body": "x"}, ["probe.body"]),
        ({"http": "/", "method": "HEAD", "contains": "x"}, ["probe.contains"]),
        ({"http": "/", "headers": {"host": "b", "X-Probe": "1"}}, ["probe.headers.host"]),
        ({"http": "/", "interval": "99ms", "timeout": "11s"}, ["probe.interval", "probe.timeout"]),
        ({"http": "/", "interval": "61s", "timeout": "9ms"}, ["probe.interval", "probe.timeout"]),
    ],
    ids=str,
)
def test_what_types_cannot_see_is_named_at_once(probe, paths):
    assert [path for path, _ in faults(convert(document(probe=probe), Plan))] == paths


def test_answers_may_be_compared_when_the_same_was_asked_however_often():
    asked = Probe(http="/a")
    assert same_question(asked, Probe(http="/a", interval="5s", timeout="2s", counts=True))
    assert not same_question(asked, Probe(http="/a", status=200))
    assert not same_question(asked, None)
    assert same_question(None, None)
