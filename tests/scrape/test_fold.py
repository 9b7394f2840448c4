"""Pages in order: which pairs make a row, and what is in it."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.scrape.pages import SECONDS, USUAL, page, series

from tidegate.scrape.fold import Result, Scrape, State, Target, step
from tidegate.scrape.measures import Measures, Traffic
from tidegate.scrape.page import Native, Page
from tidegate.scrape.selector import parse
from tidegate.wire.telemetry import Source, check

T0 = 1_700_000_000_000
TARGET = Target(node="n1", service="shop", life="agent", zone="a", labels={"rack": "r1"}, measures=USUAL)


def scrape(second, found, *, boot="b1", version="v1", shared=False):
    return Scrape(page=found, end_ms=T0 + second * 1_000, boot=boot, version=version, ready_ms=T0 - 5_000, shared=shared)


def play(*scrapes, target=TARGET):
    state, rows, results = State(), [], []
    for one in scrapes:
        state, row, result = step(target, state, one)
        results.append(result)
        if row is not None:
            check(row)
            rows.append(row)
    return rows, results


def test_two_pages_make_the_row_of_the_second_between_them():
    (row,), _ = play(scrape(0, page(100, 7, latency=(60, 90, 107))), scrape(1, page(103, 8, latency=(62, 91, 111))))
    assert (row.node, row.service, row.version, row.source, row.zone, row.labels) == (
        "n1",
        "shop",
        "v1",
        Source.SCRAPE,
        "a",
        {"rack": "r1"},
    )
    assert (row.boot, row.seq, row.start_ms, row.length_ms, row.uptime_s) == ("b1.scrape.agent", 1, T0, 1_000, 6.0)
    assert (row.requests, row.errors, sum(row.latency.counts)) == (4, 1, 4)


def test_rows_are_numbered_by_process_and_by_life_of_the_agent():
    rows, _ = play(*(scrape(second, page(second), boot="b1" if second < 3 else "b2") for second in range(6)))
    assert [(row.boot, row.seq) for row in rows] == [
        (f"{boot}.scrape.agent", seq) for boot, seq in (("b1", 1), ("b1", 2), ("b2", 1), ("b2", 2))
    ]
    rows, _ = play(scrape(0, page()), scrape(1, page()), target=replace(TARGET, life="next"))
    assert rows[0].boot == "b1.scrape.next"


@pytest.mark.parametrize(
    ("second", "results", "length_ms"),
    [
        (1, [Result.FIRST, Result.ROW], 1_000),
        (3, [Result.FIRST, Result.ROW], 3_000),
        (10, [Result.FIRST, Result.ROW], 10_000),
        (11, [Result.FIRST, Result.GAP], None),
        (0, [Result.FIRST, Result.GAP], None),
        (-5, [Result.FIRST, Result.GAP], None),
    ],
)
def test_missed_seconds_are_made_good_for_up_to_ten(second, results, length_ms):
    rows, found = play(scrape(0, page(5)), scrape(second, page(50)))
    assert found == results
    assert [(row.requests, row.length_ms) for row in rows] == ([(45, length_ms)] if length_ms else [])


@pytest.mark.parametrize("no_number", [nan, inf])
def test_a_counter_that_is_no_number_for_once_is_made_good_by_the_next_page(no_number):
    """It counted its whole life in the next row."""
    rows, _ = play(*(scrape(second, page(ok)) for second, ok in enumerate((5_000, no_number, no_number, 5_007, 5_008))))
    assert [row.requests for row in rows] == [0, 0, 7, 1]
    rows, _ = play(*(scrape(second, page(ok)) for second, ok in enumerate((no_number, 5_000, 5_001))))
    assert [row.requests for row in rows] == [0, 1]


@pytest.mark.parametrize("changed", [{"boot": "b2"}, {"version": "v2"}])
def test_no_row_straddles_a_swap(changed):
    rows, results = play(scrape(0, page(5)), scrape(1, page(50), **changed), scrape(2, page(51), **changed))
    assert results == [Result.FIRST, Result.FIRST, Result.ROW]
    assert [(row.requests, row.version) for row in rows] == [(1, changed.get("version", "v1"))]


def test_a_process_that_says_it_began_anew_is_not_compared_with_the_one_before():
    rows, results = play(scrape(0, page(5, start_s=1.0)), scrape(1, page(50, start_s=2.0)), scrape(2, page(51, start_s=2.0)))
    assert results == [Result.FIRST, Result.FIRST, Result.ROW]
    assert [row.requests for row in rows] == [1]


def test_while_two_processes_share_the_socket_a_page_that_does_not_say_whose_it_is_counts_for_none():
    rows, results = play(
        scrape(0, page(5)),
        scrape(1, page(900), shared=True),
        scrape(2, page(9)),
        scrape(3, page(900), boot="b2", version="v2", shared=True),
        scrape(4, page(2), boot="b2", version="v2"),
        scrape(5, page(4), boot="b2", version="v2"),
    )
    assert results == [Result.FIRST, Result.SHARED, Result.ROW, Result.SHARED, Result.FIRST, Result.ROW]
    assert [(row.version, row.requests, row.length_ms) for row in rows] == [("v1", 4, 2_000), ("v2", 2, 1_000)]


def test_a_page_that_says_whose_it_is_counts_during_a_swap_too():
    old, new = {"start_s": 10.0}, {"start_s": 20.0}
    second = {"boot": "b2", "version": "v2", "shared": True}
    rows, results = play(
        scrape(0, page(5, **old)),
        scrape(1, page(6, **old), shared=True),  # the new version starts
        scrape(2, page(1, **new), shared=True),  # and answers already
        scrape(3, page(9, **old), shared=True),
        scrape(4, page(900, **old), **second),  # it took over, and the old one answers still
        scrape(5, page(3, **new), **second),
        scrape(6, page(5, **new), **second),
    )
    shared = Result.SHARED
    assert results == [Result.FIRST, Result.ROW, shared, Result.ROW, shared, Result.FIRST, Result.ROW]
    assert [(row.version, row.requests) for row in rows] == [("v1", 1), ("v1", 3), ("v2", 2)]


def test_an_agent_that_begins_in_the_middle_of_a_swap_waits_until_one_process_is_left():
    _, results = play(scrape(0, page(1, start_s=1.0), shared=True), scrape(1, page(2, start_s=1.0)))
    assert results == [Result.SHARED, Result.FIRST]


def test_errors_that_are_counted_before_their_requests_come_with_the_next_row_or_not_at_all():
    target = replace(TARGET, measures=Measures(traffic=(Traffic((parse("all"),), (parse("bad"),)),), latency=()))
    pages = [
        page(all=0, bad=0),
        page(all=1, bad=3),
        page(all=5, bad=3),
        page(all=9, bad=3),
        page(all=9, bad=5),
        page(all=99, bad=5),
    ]
    rows, _ = play(*(scrape(second, one) for second, one in enumerate(pages)), target=target)
    assert [(row.requests, row.errors) for row in rows] == [(1, 1), (4, 2), (4, 0), (0, 0), (90, 2)]


def test_what_is_no_whole_number_comes_when_it_is_one():
    target = replace(TARGET, measures=replace(USUAL, counters={"cpu": (parse("cpu_seconds_total"),)}))
    values = (0.0, 0.4, 0.8, 1.2, 3.0)
    rows, _ = play(*(scrape(second, page(cpu_seconds_total=value)) for second, value in enumerate(values)), target=target)
    assert [row.counters["cpu"] for row in rows] == [0, 0, 1, 2]


def test_gauges_are_sums_and_ratios_keep_both_sides():
    measures = replace(
        USUAL,
        gauges={"queue": (parse("a_queue"), parse("b_queue")), "absent": (parse("nothing"),), "bad": (parse("nan"),)},
        ratios={"cache": ((parse("hits"),), (parse("lookups"),))},
    )
    before = page(hits=10, lookups=20)
    after = page(hits=14, lookups=25, a_queue=2.5, b_queue=4, nan=float("nan"))
    (row,), _ = play(scrape(0, before), scrape(1, after), target=replace(TARGET, measures=measures))
    assert (row.gauges, row.ratios) == ({"queue": 6.5}, {"cache": (4, 5)})


def numbers(**values):
    return Page(numbers={series(name.split("__")[0], **labels): float(value) for name, (labels, value) in values.items()})


@pytest.mark.parametrize(
    ("name", "label", "status"),
    [
        ("http_server_request_duration_seconds_count", "http_response_status_code", "500"),
        ("http_server_request_duration_seconds_count", "http_status_code", "503"),
        ("http_server_requests_seconds_count", "status", "500"),
        ("http_requests_total", "code", "502"),
        ("http_requests_total", "status", "5xx"),
        ("http_request_duration_seconds_count", "status_code", "500"),
        ("http_server_duration_milliseconds_count", "http_status_code", "500"),
    ],
)
def test_the_usual_exporters_need_no_configuration(name, label, status):
    def found(good, bad):
        return Page(numbers={series(name, **{label: "200"}): float(good), series(name, **{label: status}): float(bad)})

    (row,), _ = play(scrape(0, found(10, 1)), scrape(1, found(15, 3)))
    assert (row.requests, row.errors) == (7, 2)


def test_of_several_that_count_requests_the_first_counts_alone():
    before, after = page(10, http_request_duration_seconds_count=10), page(15, 1, http_request_duration_seconds_count=16)
    (row,), _ = play(scrape(0, before), scrape(1, after))
    assert (row.requests, row.errors) == (6, 1)


def test_series_that_are_missing_for_once_are_not_new_when_they_are_back():
    rows, _ = play(scrape(0, page(500)), scrape(1, Page()), scrape(2, page(502)), scrape(3, page(1)))
    assert [row.requests for row in rows] == [0, 2, 1]


def test_a_page_without_requests_is_an_idle_second():
    (row,), _ = play(scrape(0, Page()), scrape(1, Page()))
    assert (row.requests, row.errors, row.latency) == (0, 0, None)


anything = st.floats(allow_nan=True) | st.sampled_from([0.0, 1.0, 5.0, 1e308, inf])
natives = st.builds(
    Native,
    schema=st.integers(-4, 8),
    zero_threshold=st.floats(0, 1e300),
    zero=st.integers(0, 1 << 64),
    buckets=st.dictionaries(st.integers(-(1 << 31), 1 << 31), st.integers(0, 1 << 64), max_size=4),
)
counted = st.floats(0, 1e308)
pages = st.builds(
    Page,
    numbers=st.dictionaries(
        st.sampled_from([series("http_requests_total", code=code) for code in ("200", "500", "x")] + [series("queue")]), anything
    ),
    classic=st.dictionaries(
        st.just(series(SECONDS)), st.dictionaries(st.floats(allow_nan=False), counted, min_size=1, max_size=4)
    ),
    native=st.dictionaries(st.just(series(SECONDS, a="b")), natives),
    created=st.dictionaries(st.just(series("http_requests", code="200")), anything),
    start_s=st.none() | st.sampled_from([1.0, 2.0]),
)
ANYTHING = replace(
    USUAL, gauges={"queue": (parse("queue"),)}, counters={"c": (parse("queue"),)}, ratios={"r": ((parse("queue"),),) * 2}
)


@given(
    st.lists(
        st.builds(
            Scrape,
            page=pages,
            end_ms=st.integers(0, 20).map(lambda second: T0 + second * 1_000),
            boot=st.sampled_from(["b1", "b2"]),
            version=st.sampled_from(["v1", "v2"]),
            shared=st.booleans(),
        ),
        max_size=8,
    )
)
def test_whatever_pages_say_every_row_is_one_that_the_judge_takes(scrapes):
    rows, _ = play(*scrapes, target=replace(TARGET, measures=ANYTHING))
    assert all(1 <= row.length_ms <= 10_000 for row in rows)
