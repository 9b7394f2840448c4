import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.wire.codec import Malformed
from tidegate.wire.telemetry import (
    COUNT_MAX,
    FIELDS_MAX,
    GAUGE_MAX,
    HISTOGRAM_OFFSET,
    HISTOGRAM_SLOTS,
    MESSAGE_BYTES_MAX,
    SLICES_MAX,
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

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
LABELS = st.text(st.characters(codec="utf-8"), max_size=20)
COUNTS = st.integers(0, COUNT_MAX - 1)
GAUGES = st.dictionaries(LABELS, st.floats(-GAUGE_MAX, GAUGE_MAX), max_size=4)


@st.composite
def histograms(draw):
    first = draw(st.integers(0, HISTOGRAM_SLOTS - 1))
    return Histogram(HISTOGRAM_OFFSET + first, draw(st.lists(COUNTS, max_size=HISTOGRAM_SLOTS - first)))


@st.composite
def parts(draw):
    part, whole = sorted((draw(COUNTS), draw(COUNTS)))
    return part, whole


@st.composite
def rows(draw):
    source = draw(st.sampled_from(Source))
    errors, requests = (0, 0) if source is Source.AGENT else draw(parts())
    slices = draw(st.dictionaries(LABELS, st.tuples(parts(), st.none() | histograms()), max_size=3))
    return Telemetry(
        node=draw(NAMES),
        service=draw(NAMES),
        boot=draw(NAMES),
        seq=draw(st.integers(1, (1 << 53) - 1)),
        version=draw(NAMES),
        start_ms=draw(st.integers(0, (1 << 43) - 1)),
        length_ms=draw(st.integers(1, 60_000)),
        requests=requests,
        errors=errors,
        latency=draw(st.none() | histograms()),
        source=source,
        zone=draw(LABELS),
        labels=draw(st.dictionaries(LABELS, LABELS, max_size=3)),
        uptime_s=draw(st.floats(0, 1e9)),
        gauges=draw(GAUGES),
        counters=draw(st.dictionaries(LABELS, COUNTS, max_size=3)),
        ratios=draw(st.dictionaries(LABELS, parts(), max_size=3)),
        slices={name: Slice(whole, part, latency) for name, ((part, whole), latency) in slices.items()},
        state=draw(st.none() | st.sampled_from(ServiceState)),
        exits=draw(COUNTS),
    )


ROW = Telemetry(node="n1", service="shop", boot="b1", seq=1, version="v1", start_ms=1_000, requests=2)
AGENT = msgspec.structs.replace(ROW, requests=0, source=Source.AGENT)


def plain(row):
    return msgspec.to_builtins(decode(encode_json(row)))


@given(rows())
def test_both_encodings_carry_the_same_row(row):
    assert plain(decode(encode_json(row))) == plain(row)
    assert plain(decode(encode_msgpack(row))) == plain(row)


@given(rows())
def test_json_of_a_row_is_plain_lists_for_any_language(row):
    latency = json.loads(encode_json(decode(encode_msgpack(row)))).get("latency")
    assert latency is None or all(isinstance(count, int) for count in latency["counts"])


@given(st.lists(st.integers(0, (1 << 32) - 1), max_size=HISTOGRAM_SLOTS))
def test_binary_counts_come_back_and_take_two_bytes_where_they_fit(counts):
    packed = pack_counts(counts)
    assert unpack_counts(packed) == counts
    assert len(packed) == 1 + len(counts) * (2 if max(counts, default=0) < 1 << 16 else 4)


def fields(**change):
    return json.loads(encode_json(ROW)) | change


LATENCY = {"offset": HISTOGRAM_OFFSET, "counts": [1]}
MANY = {f"k{index}": 1 for index in range(FIELDS_MAX + 1)}

POISON = [
    (fields(seq=0), "seq"),
    (fields(seq=1 << 53), "seq"),
    (fields(seq=1.5), "seq"),
    (fields(node=""), "node"),
    (fields(node="a b"), "node"),
    (fields(service="x" * 129), "service"),
    (fields(version="../v1"), "version"),
    (fields(start_ms=-1), "start_ms"),
    (fields(start_ms=1 << 43), "start_ms"),
    (fields(length_ms=0), "length_ms"),
    (fields(length_ms=60_001), "length_ms"),
    (fields(requests=-1), "requests"),
    (fields(requests=COUNT_MAX), "requests"),
    (fields(requests=True), "requests"),
    (fields(requests="2"), "requests"),
    (fields(errors=3), "errors"),
    (fields(source="rumour"), "source"),
    (fields(source="agent"), "requests"),
    (fields(uptime_s=-1), "uptime_s"),
    (fields(zone="z" * 257), "zone"),
    (fields(gauges=MANY), "gauges"),
    (fields(gauges={"g": None}), "gauges[...]"),
    (fields(gauges={"g": 1.1e100}), "gauges.g"),
    (fields(counters={"c": -1}), "counters[...]"),
    (fields(ratios={"r": [2, 1]}), "ratios.r"),
    (fields(ratios={"r": [1]}), "ratios[...]"),
    (fields(slices={f"s{index}": {} for index in range(SLICES_MAX + 1)}), "slices"),
    (fields(slices={"s": {"requests": 1, "errors": 2}}), "slices.s.errors"),
    (fields(slices={"s": {"latency": LATENCY | {"counts": [0] * 161}}}), "latency.counts"),
    (fields(latency=LATENCY | {"offset": HISTOGRAM_OFFSET - 1}), "latency.offset"),
    (fields(latency=LATENCY | {"offset": HISTOGRAM_OFFSET + HISTOGRAM_SLOTS}), "latency.offset"),
    (fields(latency=LATENCY | {"counts": [0] * 161}), "latency.counts"),
    (fields(latency=LATENCY | {"counts": [-1]}), "latency.counts[0]"),
    (fields(latency=LATENCY | {"counts": [1 << 31]}), "latency.counts[0]"),
    (fields(latency=LATENCY | {"counts": [0.5]}), "latency.counts[0]"),
]


@pytest.mark.parametrize(("message", "path"), POISON, ids=[f"{index}-{path}" for index, (_, path) in enumerate(POISON)])
def test_poison_is_refused_by_its_path_in_both_encodings(message, path):
    for data in (json.dumps(message).encode(), msgspec.msgpack.encode(message)):
        with pytest.raises(Malformed) as raised:
            decode(data)
        assert raised.value.path == path


@pytest.mark.parametrize("field", ["node", "service", "boot", "seq", "version", "start_ms"])
def test_what_identifies_a_row_may_not_be_left_out(field):
    message = fields()
    del message[field]
    with pytest.raises(Malformed, match=field):
        decode(json.dumps(message).encode())


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("change", "path"), [(lambda n: {"gauges": {"g": n}}, "gauges.g"), (lambda n: {"uptime_s": n}, "uptime_s")]
)
def test_numbers_that_are_none_are_refused_in_messagepack_which_could_carry_them(change, path, number):
    with pytest.raises(Malformed) as raised:
        decode(msgspec.msgpack.encode(fields(**change(number))))
    assert raised.value.path == path


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused_in_json(number):
    text = json.dumps(fields(uptime_s=0)).replace('"uptime_s": 0', f'"uptime_s": {number}')
    with pytest.raises(Malformed):
        decode(text.encode())


@pytest.mark.parametrize(
    "counts", [b"", b"\x02\x01", b"\x04\x01\x02\x03", b"\x03\x01\x02\x03", b"\x00", b"\x02" + b"\x01\x00" * 161]
)
def test_torn_binary_counts_are_refused(counts):
    message = fields(latency={"offset": HISTOGRAM_OFFSET, "counts": counts})
    with pytest.raises(Malformed) as raised:
        decode(msgspec.msgpack.encode(message))
    assert raised.value.path == "latency.counts"


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80", b"{}", b"[]", b"null", b"\xc0", b"{" * 5_000, b"\x91" * 5_000, b"\xff\xfe", b" " * (MESSAGE_BYTES_MAX + 1)],
)
def test_what_is_no_row_is_malformed(data):
    with pytest.raises(Malformed):
        decode(data)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_malformed(data):
    try:
        decode(data)
    except Malformed:
        return


@given(st.data())
def test_a_bit_flipped_on_the_way_is_read_as_some_row_or_refused_never_anything_else(data):
    message = bytearray(data.draw(st.sampled_from([encode_json(ROW), encode_msgpack(ROW), encode_msgpack(AGENT)])))
    at = data.draw(st.integers(0, len(message) * 8 - 1))
    message[at // 8] ^= 1 << at % 8
    try:
        row = decode(bytes(message))
    except Malformed:
        return
    assert row.errors <= row.requests


def test_fields_of_a_later_release_are_ignored():
    assert decode(json.dumps(fields(invented_later={"a": 1})).encode()) == ROW
