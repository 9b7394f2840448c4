from itertools import pairwise
from math import inf, log2, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scrape.pages import SECONDS, TOTAL, page, series

from tidegate.kpi.buckets import slot_of
from tidegate.scrape.increase import classic_increase, increase, latencies, level, native_increase
from tidegate.scrape.page import Native, Page
from tidegate.scrape.selector import parse
from tidegate.wire.telemetry import HISTOGRAM_SLOTS

ALL = (parse(TOTAL),)
counts = st.integers(0, 1 << 40)
growths = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1 << 30))


def numbers(values):
    return Page(numbers={series(TOTAL, path=path): float(value) for path, value in values.items()})


@given(growths, st.lists(growths, max_size=5))
def test_over_any_number_of_pages_what_grew_is_what_was_added(start, steps):
    pages, now = [numbers(start)], dict(start)
    for step in steps:
        now = {path: now.get(path, 0) + step.get(path, 0) for path in now.keys() | step.keys()}
        pages.append(numbers(now))
    whole = increase(pages[0], pages[-1], ALL)
    assert whole == sum(increase(one, other, ALL) for one, other in pairwise(pages))
    assert whole == sum(sum(step.values()) for step in steps)


@given(growths, growths)
def test_the_growth_of_a_sum_is_the_sum_of_growths(before, after):
    each = sum(increase(numbers(before), numbers(after), (parse(f'{TOTAL}{{path="{path}"}}'),)) for path in "abcdef")
    assert increase(numbers(before), numbers(after), ALL) == each


@pytest.mark.parametrize(
    ("before", "after", "grown"),
    [
        (page(ok=5), page(ok=9), 4),
        (page(ok=5), page(ok=2), 2),
        (page(ok=5, created=1.0), page(ok=7, created=1.0), 2),
        (page(ok=5, created=1.0), page(ok=7, created=2.0), 7),
        (page(ok=5), page(ok=7, created=2.0), 2),
        (page(ok=5, created=1.0), page(ok=7), 2),
        (Page(), page(ok=3), 3),
        (page(ok=3), Page(), 0),
        (page(ok=0), page(ok=1e300), 2**53),
    ],
)
def test_a_counter_that_begins_again_is_all_new(before, after, grown):
    assert increase(before, after, ALL) == grown


@pytest.mark.parametrize("no_count", [nan, inf, -inf, -1.0])
def test_where_a_counter_is_no_count_nothing_grew_and_counting_begins(no_count):
    assert increase(page(ok=3), page(ok=no_count), ALL) == 0
    assert increase(page(ok=no_count), page(ok=3), ALL) == 0
    assert increase(page(ok=no_count, created=1.0), page(ok=3, created=2.0), ALL) == 3


def test_a_series_that_several_select_counts_once():
    both = (parse(TOTAL), parse(f'{TOTAL}{{code=~"5.."}}'))
    assert increase(page(), page(ok=3, failed=2), both) == 5
    assert level(page(ok=3, failed=2), both) == 5
    assert level(Page(), both) is None


@given(st.lists(st.tuples(counts, counts), min_size=4, max_size=4), st.integers(0, 65_535))
def test_every_request_of_a_classic_histogram_is_in_one_slot(buckets, phase):
    bounds = (0.005, 0.25, 3.0, inf)
    before, after, was, now = {}, {}, 0, 0
    for bound, (start, grown) in zip(bounds, buckets, strict=True):
        was, now = was + start, now + start + grown
        before[bound], after[bound] = float(was), float(now)
    one, other = Page(classic={series(SECONDS): before}), Page(classic={series(SECONDS): after})
    slots = latencies(one, other, parse(SECONDS), phase)
    assert sum(slots) == sum(grown for _, grown in buckets)
    assert sum(slots[slot_of(3.0) + 2 :]) == 0  # above the last bound nothing is known
    for bound, upto in zip(bounds[:3], (1, 2, 3), strict=True):
        assert sum(slots[: slot_of(bound)]) <= sum(grown for _, grown in buckets[:upto])


@pytest.mark.parametrize("after", [{0.1: 1, inf: 9}, {0.1: 6, inf: 6}, {0.2: 9, inf: 9}])
def test_a_classic_histogram_that_begins_again_is_all_new(after):
    assert classic_increase({0.1: 5, inf: 8}, after) == after


def test_of_a_histogram_without_bounds_nothing_is_known():
    assert sum(latencies(Page(), Page(classic={series(SECONDS): {inf: 9.0}}), parse(SECONDS), 0)) == 0


def test_milliseconds_are_told_by_the_name():
    name = "http_server_duration_milliseconds"
    found = Page(classic={series(name): {250.0: 0.0, 500.0: 80.0, inf: 80.0}})
    assert latencies(Page(), found, parse(name), 0) == [0] * 64 + [10] * 8 + [0] * 88
    exponential = Page(native={series(name): Native(schema=3, zero_threshold=0, zero=0, buckets={72: 5})})  # (475, 512] ms
    assert latencies(Page(), exponential, parse(name), 0)[slot_of(0.49)] > 0


def native(values, schema=3, threshold=0.0):
    """A native histogram of values, built from what its buckets are said to be."""
    buckets: dict[int, int] = {}
    zero = 0
    for value in values:
        if value <= threshold:
            zero += 1
        else:
            index = next(at for at in range(-10_000, 10_000) if at >= log2(value) * 2.0**schema - 1e-9)
            buckets[index] = buckets.get(index, 0) + 1
    return Native(schema=schema, zero_threshold=threshold, zero=zero, buckets=buckets)


durations = st.floats(0.0011, 1_000)


@given(st.lists(durations, max_size=20), st.integers(-4, 8), st.integers(0, 65_535))
def test_every_request_of_a_native_histogram_is_in_one_slot(values, schema, phase):
    found = Page(native={series(SECONDS): native(values, schema)})
    slots = latencies(Page(), found, parse(SECONDS), phase)
    assert sum(slots) == len(values)
    if schema >= 3:
        ours = [0] * HISTOGRAM_SLOTS
        for value in values:
            ours[slot_of(value)] += 1
        assert slots == ours


@given(st.lists(durations, max_size=12), st.lists(durations, max_size=12), st.integers(-4, 8), st.integers(0, 12))
def test_a_client_that_widens_its_buckets_loses_nothing_and_doubles_nothing(before, added, schema, halvings):
    later = native(before + added, max(schema - halvings, -4))
    grown = native_increase(native(before, schema), later)
    assert {at: count for at, count in grown.buckets.items() if count} == native(added, later.schema).buckets
    assert grown.zero == 0


def test_a_client_that_widens_its_zero_bucket_loses_nothing():
    before = native([0.002, 0.004, 0.5], schema=0, threshold=2.0**-20)
    after = native([0.002, 0.004, 0.5, 0.003, 0.6], schema=0, threshold=2.0**-7)
    grown = native_increase(before, after)
    assert (grown.zero, {at: count for at, count in grown.buckets.items() if count}) == (1, {0: 1})


@pytest.mark.parametrize(
    "after",
    [native([0.5]), native([0.9, 0.9, 0.9]), native([0.5] * 9, schema=4), native([0.5] * 9, threshold=0.0001)],
    ids=["fewer", "elsewhere", "finer", "narrower"],
)
def test_a_native_histogram_that_begins_again_is_all_new(after):
    assert native_increase(native([0.5, 0.5], threshold=0.0002), after) == after


def test_what_a_native_histogram_says_counts_before_its_classic_buckets():
    found = page(latency=(0, 5, 5))
    found.native[series(SECONDS)] = native([0.5] * 5)
    slots = latencies(Page(), found, parse(SECONDS), 0)
    assert (sum(slots), slots[slot_of(0.5)]) == (5, 5)
