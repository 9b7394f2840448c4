import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.wire.codec import Malformed
from tidegate.wire.telemetry import (
    HISTOGRAM_OFFSET,
    HISTOGRAM_SLOTS,
    MESSAGE_BYTES_MAX,
    Histogram,
    ServiceState,
    Slice,
    Source,
    Telemetry,
    decode,
    encode_json,
    encode_msgpack,
    pack_counts,
    unpack_counts,
)

NAME = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
TEXT = st.text(max_size=20)
COUNTS = st.lists(st.integers(0, 2**31 - 1), max_size=HISTOGRAM_SLOTS)


@st.composite
def histograms(draw):
    counts = draw(COUNTS)
    return Histogram(draw(st.integers(HISTOGRAM_OFFSET, HISTOGRAM_OFFSET + HISTOGRAM_SLOTS - max(1, len(counts)))), counts)


@st.composite
def rows(draw):
    requests = draw(st.integers(0, 2**31 - 1))
    agent = draw(st.booleans())
    return Telemetry(
        node=draw(NAME),
        service=draw(NAME),
        boot=draw(NAME),
        version=draw(NAME),
        seq=draw(st.integers(1, 2**53 - 1)),
        start_ms=draw(st.integers(0, 2**43 - 1)),
        length_ms=draw(st.integers(1, 60_000)),
        requests=0 if agent else requests,
        errors=0 if agent else draw(st.integers(0, requests)),
        latency=draw(st.none() | histograms()),
        source=Source.AGENT if agent else draw(st.sampled_from([Source.SDK, Source.OTLP, Source.SCRAPE, Source.PROBE])),
        cohort=draw(TEXT),
        labels=draw(st.dictionaries(TEXT, TEXT, max_size=3)),
        uptime_s=draw(st.floats(0, 1e9)),
        gauges=draw(st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False), max_size=3)),
        ratios=draw(st.dictionaries(TEXT, st.integers(0, 99).map(lambda part: (part, 99)), max_size=3)),
        slices=draw(st.dictionaries(TEXT, st.builds(Slice, requests=st.just(5), errors=st.integers(0, 5)), max_size=3)),
        state=draw(st.none() | st.sampled_from(list(ServiceState))),
    )


def plain(row):
    return msgspec.structs.replace(row, latency=None), row.latency and (row.latency.offset, row.latency.values())


@given(rows())
def test_both_encodings_give_the_row_back(row):
    assert plain(decode(encode_json(row))) == plain(row)
    assert plain(decode(encode_msgpack(row))) == plain(row)


@given(COUNTS)
def test_binary_counts_give_the_counts_back(counts):
    assert unpack_counts(pack_counts(counts)) == counts


@given(st.binary(max_size=300))
def test_any_bytes_are_a_row_or_malformed_and_nothing_else(data):
    with contextlib.suppress(Malformed):
        decode(data)


GOOD = json.loads(encode_json(Telemetry(node="n", service="s", boot="b", seq=1, version="v", start_ms=5, requests=3)))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"node": ""}, "node"),
        ({"node": "a b"}, "node"),
        ({"node": "n" * 200}, "node"),
        ({"seq": 0}, "seq"),
        ({"seq": "1"}, "seq"),
        ({"requests": -1}, "requests"),
        ({"requests": 1 << 40}, "requests"),
        ({"errors": 4}, "errors"),
        ({"start_ms": 1e308}, "start_ms"),
        ({"length_ms": 0}, "length_ms"),
        ({"latency": {"offset": -81, "counts": [1]}}, "latency.offset"),
        ({"latency": {"offset": 79, "counts": [1, 2]}}, "latency.counts"),
        ({"latency": {"offset": 0, "counts": [1, -2]}}, "latency.counts[1]"),
        ({"latency": {"offset": 0, "counts": [1.5]}}, "latency.counts[0]"),
        ({"gauges": {"g": "high"}}, "gauges[...]"),
        ({"gauges": {f"g{number}": 1.0 for number in range(65)}}, "gauges"),
        ({"ratios": {"r": [2, 1]}}, "ratios.r"),
        ({"slices": {"route=/": {"requests": 1, "errors": 2}}}, "slices.route=/.errors"),
        ({"source": "rumour"}, "source"),
        ({"source": "agent"}, "requests"),
        ({"version": None}, "version"),
    ],
)
def test_what_would_poison_a_sum_is_refused_by_its_path(change, path):
    with pytest.raises(Malformed) as raised:
        decode(json.dumps(GOOD | change).encode())
    assert raised.value.path == path


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused_in_json(number):
    text = json.dumps(GOOD | {"uptime_s": 0}).replace('"uptime_s": 0', f'"uptime_s": {number}')
    with pytest.raises(Malformed):
        decode(text.encode())


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["uptime_s", "gauges"])
def test_numbers_that_are_none_are_refused_in_messagepack(number, field):
    value = {"g": number} if field == "gauges" else number
    with pytest.raises(Malformed):
        decode(msgspec.msgpack.encode(GOOD | {field: value}))


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"{}", b"[]", b"null", b"{" * 100_000, b"\xff" * 10, b"x" * (MESSAGE_BYTES_MAX + 1)]
)
def test_other_messages_are_refused(data):
    with pytest.raises(Malformed):
        decode(data)


def test_unknown_fields_are_ignored_so_that_newer_senders_may_say_more():
    assert decode(json.dumps(GOOD | {"mood": "good"}).encode()).requests == 3


@pytest.mark.parametrize("counts", [b"", b"\x03\x01", b"\x02\x01", b"\x04\x01\x00"])
def test_torn_binary_counts_are_refused(counts):
    with pytest.raises(Malformed):
        decode(msgspec.msgpack.encode(GOOD | {"latency": {"offset": 0, "counts": counts}}))
