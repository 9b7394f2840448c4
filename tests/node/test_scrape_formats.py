"""Pages in every format that clients show, read alike."""

import contextlib
import random
import time
from math import inf, nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from tests.node.protowire import doubles, family, field, fields, metric, one_by_one, packed, spans

from tidegate.kpi.buckets import slot_of
from tidegate.node.scrape.config import ScrapeConfig, measures_of
from tidegate.node.scrape.fetch import ScrapeFailed
from tidegate.node.scrape.protobuf import ProtobufReader
from tidegate.node.scrape.series import SERIES_MAX
from tidegate.node.scrape.text import TextReader
from tidegate.scrape.increase import increase, latencies
from tidegate.scrape.page import Native, Wanted
from tidegate.scrape.selector import Series
from tidegate.wire.telemetry import HISTOGRAM_SLOTS

GOLDEN = Path(__file__).parents[1] / "scrape" / "golden"
MEASURES = measures_of(
    ScrapeConfig(latency="http_request_duration_seconds", requests="http_requests_total", gauges={"queue": "queue"})
)
SECONDS = MEASURES.latency[0]
COUNTER, GAUGE, HISTOGRAM, GAUGE_HISTOGRAM = 0, 1, 4, 5
WANTED = Wanted(frozenset({"a_total", "g", "h_count"}), frozenset({"h"}))


def read_text(text, *, openmetrics=False, wanted=WANTED):
    return TextReader(wanted).read(text.encode(), openmetrics=openmetrics)


def golden(name):
    reader = ProtobufReader if name.endswith(".pb") else TextReader
    body = (GOLDEN / name).read_bytes()
    return (
        reader(MEASURES.wanted).read(body) if reader is ProtobufReader else reader(MEASURES.wanted).read(body, openmetrics=False)
    )


def test_pages_of_the_go_client_say_the_same_in_both_formats():
    for name in ("first", "second"):
        binary, text = golden(f"{name}.pb"), golden(f"{name}.txt")
        assert binary.numbers == text.numbers
        assert binary.classic == text.classic
        assert binary.created
        assert [native.schema for native in binary.native.values()] == [1 if name == "second" else 2, 3]


def test_what_the_go_client_counted_between_two_pages_is_found_whatever_it_did_to_its_buckets():
    observed = [0.0001 * number * number for number in range(1, 301)]
    true = [0] * HISTOGRAM_SLOTS
    for seconds in observed:
        true[slot_of(seconds)] += 1
    first, second = golden("first.pb"), golden("second.pb")
    slots = latencies(first, second, SECONDS, 0)
    assert (sum(slots), increase(first, second, MEASURES.traffic[0].requests)) == (300, 303)
    assert increase(first, second, MEASURES.traffic[0].errors) == 3
    # Buckets of schema 1 are four of our slots wide: at each of their edges nothing is out of place.
    for edge in range(0, HISTOGRAM_SLOTS, 4):
        assert sum(slots[:edge]) == sum(true[:edge])


def exposition():
    registry = CollectorRegistry()
    total = Counter("http_requests", "Requests.", ("code", "path"), registry=registry)
    seconds = Histogram("http_request_duration_seconds", "Latency.", ("path",), buckets=(0.01, 0.1), registry=registry)
    Gauge("queue", "Waiting.", registry=registry).set(7.5)
    for path in ("/a", 'odd "quoted"\\ \n {x="y"} # 1'):
        total.labels("200", path).inc(3)
        total.labels("503", path).inc(exemplar={"trace": 'a"}{b'})
        seconds.labels(path).observe(0.05, {"trace": "abc"})
        seconds.labels(path).observe(5)
    return registry


@pytest.mark.parametrize("openmetrics", [False, True])
def test_pages_of_the_python_client_are_read_whole(openmetrics):
    body = generate_openmetrics(exposition()) if openmetrics else generate_latest(exposition())
    reader = TextReader(MEASURES.wanted)
    for _ in range(2):  # the second time every series is known
        page = reader.read(body, openmetrics=openmetrics)
        assert sum(page.numbers.values()) == 7.5 + 2 * 4
        assert [*page.classic.values()] == [{0.01: 0.0, 0.1: 1.0, inf: 2.0}] * 2
        assert {series.name for series in page.created} == {"http_requests", "http_request_duration_seconds"}
        assert ("path", 'odd "quoted"\\ \n {x="y"} # 1') in {pair for series in page.classic for pair in series.labels}


def test_only_what_is_wanted_is_kept_by_its_whole_name():
    page = read_text(
        'a_total{x="1"} 5 1700000000000\na_total_more 6\na_totals 7\nother 8\ng 1\nh_sum 9\nh_count 2\n\n# a_total 9\n'
    )
    assert page.numbers == {Series("a_total", (("x", "1"),)): 5.0, Series("g"): 1.0, Series("h_count"): 2.0}


def test_a_process_says_when_it_began():
    assert read_text("process_start_time_seconds 1.7e9\n").start_s == 1.7e9
    assert ProtobufReader(WANTED).read(family("process_start_time_seconds", GAUGE, metric(2, field(1, 1.7e9)))).start_s == 1.7e9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a_total", "no sample"),
        ("a_total ten\n", "no number"),
        ('a_total{x="1" 5\n', "no sample"),
        ("a_total{x} 5\n", "no series"),
        ('h_bucket{le="wide"} 5\n', "no series"),
        ("h_bucket 5\n", "no series"),
        ('h_bucket{le="NaN"} 5\n', "bucket"),
        ('h_bucket{le="1"} NaN\n', "bucket"),
        ('h_bucket{le="1"} -1\n', "bucket"),
        ("".join(f'a_total{{x="{number}"}} 1\n' for number in range(10_001)), "select fewer"),
    ],
)
def test_a_text_page_that_is_none_says_where(text, said):
    with pytest.raises(ScrapeFailed, match=said):
        read_text(text)


def test_an_openmetrics_page_must_be_whole():
    assert read_text("a_total 5\n# EOF\n", openmetrics=True).numbers
    with pytest.raises(ScrapeFailed, match="EOF"):
        read_text("a_total 5\n", openmetrics=True)


@pytest.mark.parametrize("deltas", [packed, one_by_one])
def test_a_native_histogram_is_read_by_its_spans(deltas):
    # Buckets -3, -2 and 4: 5, 2 and 9; one below zero, three at zero.
    native = fields((1, 20), (2, 1.5), (5, 6), (6, 0.001), (7, 3)) + spans(12, (-3, 2), (5, 1)) + deltas(13, [5, -3, 7])
    native += spans(9, (0, 1)) + deltas(10, [1])
    page = ProtobufReader(WANTED).read(family("h", HISTOGRAM, metric(7, native, path="/")))
    at = (("path", "/"),)
    assert page.native == {Series("h", at): Native(schema=3, zero_threshold=0.001, zero=4, buckets={-3: 5, -2: 2, 4: 9})}
    assert (page.numbers, page.classic) == ({Series("h_count", at): 20.0}, {})


def test_a_native_histogram_in_fractions_is_rounded():
    native = fields((4, 12.0), (5, 6), (8, 2.6)) + spans(12, (1, 2)) + doubles(14, [4.4, 4.6])
    page = ProtobufReader(WANTED).read(family("h", HISTOGRAM, metric(7, native)))
    assert page.native[Series("h")] == Native(schema=3, zero_threshold=0.0, zero=3, buckets={1: 4, 2: 5})
    assert page.numbers[Series("h_count")] == 12.0


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (fields((4, inf), (3, fields((1, 4), (2, 0.1)))), "counts inf"),
        (fields((4, nan), (3, fields((1, 4), (2, 0.1)))), "counts nan"),
        (fields((4, -1.0), (3, fields((1, 4), (2, 0.1)))), "counts -1"),
        (fields((4, 1.0), (5, 6), (8, inf)) + spans(12, (0, 1)) + doubles(14, [1.0]), "no protobuf"),
        (fields((4, 1.0), (5, 6)) + spans(12, (0, 1)) + doubles(14, [nan]), "no protobuf"),
        (fields((1, 5), (5, 6), (6, nan), (7, 5)) + spans(12, (0, 0)), "zero bucket up to nan"),
        (field(5, 6) + spans(12, (0, SERIES_MAX + 1)) + packed(13, [0] * (SERIES_MAX + 1)), "more than 10000 series"),
        (field(5, 6) + spans(12, (0, SERIES_MAX)) + packed(13, [0] * SERIES_MAX), "more than 10000 series"),
    ],
)
def test_a_histogram_that_cannot_be_or_is_too_large_is_refused(message, said):
    with pytest.raises(ScrapeFailed, match=said):
        ProtobufReader(WANTED).read(family("h", HISTOGRAM, metric(7, message)))


def test_a_native_histogram_that_has_seen_nothing_is_one_and_a_schema_that_is_not_exponential_is_none():
    empty = fields((1, 0), (5, 6), (6, 1e-30)) + spans(12, (0, 0))
    custom = fields((1, 5), (5, 2 * 53 - 1), (3, fields((1, 5), (2, 1.0)))) + spans(12, (0, 1)) + packed(13, [5])
    page = ProtobufReader(WANTED).read(family("h", HISTOGRAM, metric(7, empty), metric(7, custom, of="custom")))
    assert page.native == {Series("h"): Native(schema=3, zero_threshold=1e-30, zero=0, buckets={})}
    assert page.classic == {Series("h", (("of", "custom"),)): {1.0: 5, inf: 5}}


def test_classic_buckets_counters_and_created_times_are_read():
    classic = fields(
        (1, 9), (3, fields((1, 4), (2, 0.1))), (3, fields((4, 8.0), (2, 1.0))), (15, fields((1, 100), (2, 500_000_000)))
    )
    counter = fields((1, 5.0), (3, fields((1, 200))))
    page = ProtobufReader(WANTED).read(
        family("h", HISTOGRAM, metric(7, classic))
        + family("unwanted", COUNTER, metric(3, counter), b"\xff\xff\xff")
        + family("a_total", COUNTER, metric(3, counter, code="200"))
        + family("g", GAUGE, metric(2, field(1, -2.0)))
    )
    assert page.classic == {Series("h"): {0.1: 4, 1.0: 8.0, inf: 9}}
    assert page.created == {Series("h"): 100.5, Series("a", (("code", "200"),)): 200.0}
    assert page.numbers[Series("a_total", (("code", "200"),))] == 5.0
    assert page.numbers[Series("g")] == -2.0


def test_a_histogram_that_goes_up_and_down_counts_nothing():
    page = ProtobufReader(WANTED).read(family("h", GAUGE_HISTOGRAM, metric(7, fields((1, 9), (3, fields((1, 4), (2, 0.1)))))))
    assert not page.classic


def test_a_protobuf_page_that_is_torn_is_refused_wherever_it_is_torn():
    body = (GOLDEN / "second.pb").read_bytes()
    whole = ProtobufReader(MEASURES.wanted).read(body)
    for cut in range(len(body)):
        try:
            page = ProtobufReader(MEASURES.wanted).read(body[:cut])
        except ScrapeFailed:
            continue
        assert page.numbers.items() <= whole.numbers.items()  # cut between two families, which no length tells


@given(st.binary(max_size=200), st.integers(0, 599))
def test_bytes_of_any_kind_are_read_or_refused(noise, at):
    body = (GOLDEN / "second.pb").read_bytes()
    for data in (noise, body[:at] + noise + body[at + len(noise) :]):
        for read in (
            ProtobufReader(MEASURES.wanted).read,
            lambda page: TextReader(MEASURES.wanted).read(page, openmetrics=False),
        ):
            with contextlib.suppress(ScrapeFailed):
                read(data)


def test_a_page_of_two_thousand_series_costs_little(say):
    registry = CollectorRegistry()
    seconds = Histogram("http_request_duration_seconds", "Latency.", ("path", "code"), registry=registry)
    for number in range(25):  # 25 label sets of 18 series each
        seconds.labels(f"/route/{number}", "200").observe(0.05)
    for number in range(50):
        other = Counter(f"other_{number}", "Other.", ("label", "another"), registry=registry)
        for label in range(15):
            other.labels(f"value {label}", "another value").inc(random.random())
    body = generate_latest(registry)
    reader = TextReader(measures_of(ScrapeConfig()).wanted)
    lines = sum(not line.startswith(b"#") for line in body.splitlines())
    reader.read(body, openmetrics=False)
    costs = []
    for _ in range(20):
        began = time.perf_counter()
        reader.read(body, openmetrics=False)
        costs.append(time.perf_counter() - began)
    say(f"{lines} series, {len(body) >> 10} KiB, 450 of them wanted: {min(costs) * 1e6:.0f} µs a page")
    assert min(costs) < 0.05
