"""What stock SDKs send, sorted out: who speaks, which points count, and what is said of those that cannot."""

import json

import pytest
from tests.otlp.stock import DELTA, DURATION, EXPLICIT, EXPONENTIAL, Service, as_json

from tidegate.bridge.decode import Encoding, decode
from tidegate.otlp.conventions import failed
from tidegate.otlp.identity import Nobody, speaker_of
from tidegate.otlp.sorting import sort
from tidegate.wire.codec import Malformed
from tidegate.wire.otlp import Explicit, Exponential
from tidegate.wire.otlp import decode as unpack
from tidegate.wire.otlp import encode as pack
from tidegate.wire.topics import BY_NAME

NODE = {"host.name": "web-1"}


def of_json(value) -> object:
    return sort(decode(json.dumps(value).encode(), Encoding.JSON))


@pytest.mark.parametrize("histogram", [EXPLICIT, EXPONENTIAL], ids=["explicit", "exponential"])
@pytest.mark.parametrize("temporality", [None, DELTA], ids=["cumulative", "delta"])
def test_both_forms_of_a_stock_export_come_to_the_same(temporality, histogram):
    service = Service(temporality, histogram)
    for number in range(20):
        service.request(0.01 * number, 503 if number % 5 == 0 else 200)
    data = service.export()
    service.close()
    found = sort(decode(data, Encoding.PROTO))
    assert sort(decode(as_json(data), Encoding.JSON)) == found
    assert not found.rejected
    (one,) = found.exports
    assert (one.service, one.node, one.version, one.zone, one.labels) == ("shop", "web-1", "v1", "a", {"deployment.id": "r1"})
    assert sorted((point.failed, point.count, point.delta) for point in one.points) == [
        (False, 16, temporality is DELTA),
        (True, 4, temporality is DELTA),
    ]
    kind = Explicit if histogram is EXPLICIT else Exponential
    assert all(isinstance(point.buckets, kind) and point.metric == DURATION for point in one.points)
    assert unpack(pack(one)) == one


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"service.name": "cart"}, ("cart", "web-1", "unknown")),
        ({"service.name": "cart", "service.namespace": "shop", "service.version": "1.2+3"}, ("shop.cart", "web-1", "1.2-3")),
        ({"service.name": "a b", "service.version": "v1"}, ("a-b", "web-1", "v1")),
        # What a node agent has told a process comes first.
        (
            {"service.name": "x", "service.version": "x", "tidegate.service": "s", "tidegate.node": "n", "tidegate.version": "2"},
            ("s", "n", "2"),
        ),
    ],
)
def test_who_speaks(attributes, expected):
    found = speaker_of(NODE | attributes)
    assert (found.service, found.node, found.version) == expected


@pytest.mark.parametrize(
    "attributes",
    [NODE, NODE | {"service.name": "unknown_service"}, NODE | {"service.name": "unknown_service:python"}, {"service.name": "s"}],
)
def test_a_resource_that_is_no_service_on_a_node_is_nobody(attributes):
    with pytest.raises(Nobody):
        speaker_of(attributes)


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        (NODE | {"service.name": "支付-api"}, "支付-api: names are ASCII; set tidegate.service"),
        (NODE | {"service.name": "api", "service.namespace": "магазин"}, "магазин.api"),
        (NODE | {"service.name": "café"}, "café"),
        ({"service.name": "s", "host.name": "узел-1"}, "host.name узел-1: names are ASCII; set tidegate.node"),
        (NODE | {"service.name": "\ud800"}, "service ?"),
    ],
)
def test_a_name_that_is_not_ascii_is_refused_with_the_remedy(attributes, says):
    """Two services, 支付-api and 订单-api, were both counted as api."""
    with pytest.raises(Nobody) as refused:
        speaker_of(attributes)
    assert says in str(refused.value)
    str(refused.value).encode()
    assert speaker_of(attributes | {"tidegate.service": "pay", "tidegate.node": "n1"}).service == "pay"


def test_what_names_a_node_may_be_chosen():
    attributes = {"service.name": "s", "host.name": "h", "k8s.node.name": "k", "service.instance.id": "i"}
    assert speaker_of(attributes).node == "h"
    assert speaker_of(attributes, ("k8s.node.name",)).node == "k"
    assert speaker_of({"service.name": "s", "service.instance.id": "i"}).node == "i"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"http.response.status_code": "500"}, True),
        ({"http.response.status_code": "499"}, False),
        ({"http.status_code": "503"}, True),
        ({"http.response.status_code": "200", "error.type": "ConnectionReset"}, True),
        ({"error.type": ""}, False),
        ({"http.response.status_code": "five hundred"}, False),
        ({"http.response.status_code": "²"}, False),
        ({"rpc.grpc.status_code": "13"}, True),
        ({"rpc.grpc.status_code": "5"}, False),
        ({"rpc.response.status_code": "UNAVAILABLE"}, True),
        ({"rpc.response.status_code": "OK"}, False),
        ({}, False),
    ],
)
def test_which_requests_failed(attributes, expected):
    assert failed(attributes) is expected


def histogram(*points, temporality=2, name=DURATION, unit="s"):
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in (NODE | {"service.name": "s"}).items()]
    metric = {"name": name, "unit": unit, "histogram": {"dataPoints": points, "aggregationTemporality": temporality}}
    return {"resourceMetrics": [{"resource": {"attributes": attributes}, "scopeMetrics": [{"metrics": [metric]}]}]}


GOOD = {"startTimeUnixNano": "5", "timeUnixNano": "9", "count": "3", "bucketCounts": ["1", "2"], "explicitBounds": [0.1]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"count": 4}, "buckets hold 3"),
        ({"bucketCounts": [1, 1, 1]}, "3 buckets of 1 bounds"),
        ({"bucketCounts": [1, 1, 1], "explicitBounds": [2, 1]}, "do not ascend"),
        ({"explicitBounds": ["NaN"]}, "do not ascend"),
        ({"explicitBounds": ["Infinity"]}, "do not ascend"),
        ({"timeUnixNano": 0}, "no time"),
        ({"timeUnixNano": "18446744073709551615"}, "no time"),
        ({"startTimeUnixNano": 10}, "ends before it begins"),
        ({"count": 1 << 60, "bucketCounts": [1 << 60, 0]}, "a count of"),
        ({"bucketCounts": [0] * 2_000, "explicitBounds": []}, "at most 1024"),
    ],
)
def test_a_point_that_contradicts_itself_is_refused_and_the_others_count(change, says):
    found = of_json(histogram(GOOD | change, GOOD))
    ((reason, number),) = found.rejected.items()
    assert (reason.kind, number) == ("malformed", 1)
    assert says in reason.words
    assert [point.count for point in found.exports[0].points] == [3]


@pytest.mark.parametrize(
    ("change", "says"),
    [({"scale": 21}, "scale 21"), ({"zeroThreshold": -1}, "threshold"), ({"positive": {"offset": 1 << 40}}, "offset")],
)
def test_the_same_holds_for_exponential_histograms(change, says):
    request = histogram()
    metric = request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]
    del metric["histogram"]
    point = {"timeUnixNano": 9, "count": 4, "scale": 3, "zeroCount": 1, "negative": {"bucketCounts": [1]}}
    point["positive"] = {"offset": -3, "bucketCounts": [2]}
    metric["exponentialHistogram"] = {"dataPoints": [point, point | change], "aggregationTemporality": 1}
    found = of_json(request)
    assert says in next(iter(found.rejected)).words
    (kept,) = found.exports[0].points
    assert kept.buckets == Exponential(scale=3, threshold=0.0, zero=2, offset=-3, counts=[2])


@pytest.mark.parametrize("temporality", [0, 3])
def test_a_histogram_that_is_neither_delta_nor_cumulative_is_refused(temporality):
    found = of_json(histogram(GOOD, temporality=temporality))
    assert [reason.words for reason in found.rejected] == [f"{DURATION}: neither delta nor cumulative"]


def test_what_is_not_looked_for_passes_in_silence_and_shows_that_the_process_speaks():
    found = of_json(histogram(GOOD | {"count": 99}, name="db.client.operation.duration"))
    assert not found.rejected
    assert [(one.points, one.end_ns) for one in found.exports] == [([], 9)]


@pytest.mark.parametrize("kind", ["gauge", "sum", "histogram", "exponentialHistogram"])
def test_that_a_series_has_ended_is_no_sign_of_life(kind):
    """A collector says so of each series of a process that is gone; it looked alive for an interval more."""
    request = histogram()
    metric = request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]
    del metric["histogram"]
    metric[kind] = {"dataPoints": [{"timeUnixNano": "9", "flags": 1}]}
    assert of_json(request).exports == []
    metric[kind]["dataPoints"].append({"timeUnixNano": "7"})
    assert [one.end_ns for one in of_json(request).exports] == [7]


def test_units_are_those_that_the_metric_says_and_else_those_of_its_time():
    units = {("s", DURATION): 1.0, ("ms", DURATION): 1e-3, ("", "http.server.duration"): 1e-3, ("{odd}", DURATION): 1.0}
    for (unit, name), expected in units.items():
        assert of_json(histogram(GOOD, unit=unit, name=name)).exports[0].points[0].unit_s == expected


def test_points_of_nobody_are_refused_with_what_is_missing():
    request = histogram(GOOD, GOOD)
    request["resourceMetrics"][0]["resource"]["attributes"].pop()
    found = of_json(request)
    assert found.exports == []
    ((reason, number),) = found.rejected.items()
    assert (reason.kind, number, "OTEL_SERVICE_NAME" in reason.words) == ("nobody", 2, True)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"\xff\xff\xff", Encoding.PROTO),
        (b"{", Encoding.JSON),
        (b'{"resourceMetrics": 5}', Encoding.JSON),
        (json.dumps(histogram(GOOD | {"count": "9" * 4_300})).encode(), Encoding.JSON),
        (json.dumps(histogram(GOOD | {"bucketCounts": ["9" * 4_300] * 20})).encode(), Encoding.JSON),
        (b"[" * 100_000, Encoding.JSON),
        (b"\xff", Encoding.JSON),
    ],
)
def test_what_is_no_request_is_malformed(body, encoding):
    with pytest.raises(Malformed):
        decode(body, encoding)


def test_nothing_at_all_is_a_request_without_anything():
    for body, encoding in ((b"", Encoding.PROTO), (b"{}", Encoding.JSON)):
        assert sort(decode(body, encoding)) == sort(decode(b"", Encoding.PROTO))


def test_what_is_too_much_for_one_record_comes_in_parts():
    points = [GOOD | {"attributes": [{"key": "n", "value": {"intValue": str(n)}}]} for n in range(600)]
    found = of_json(histogram(*points))
    assert [len(one.points) for one in found.exports] == [256, 256, 88]
    assert len({point.series for one in found.exports for point in one.points}) == 600
    wide = GOOD | {"count": 1 << 52, "bucketCounts": [1 << 52] + [0] * 1_023, "explicitBounds": [*range(1_023)]}
    (largest,) = of_json(histogram(*[wide] * 256)).exports
    assert len(pack(largest)) < BY_NAME["otlp"].message_bytes_max
