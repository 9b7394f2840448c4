"""Whatever way a process exports what it counts, the rows hold just that."""

from bisect import bisect_left
from collections import Counter
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.otlp.kit import Partition, export, point

from tidegate.kpi.buckets import RELATIVE_ERROR, quantile_s
from tidegate.otlp.portions import NO_LATENCY, Portion
from tidegate.wire.otlp import Explicit, Exponential

BOUNDS = [0.0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]
durations = st.floats(0.0, 30.0)
latencies = st.lists(durations, min_size=1, max_size=40)


def bounds_of(values: list[float]) -> Explicit:
    counts = Counter(bisect_left(BOUNDS, value) for value in values)
    return Explicit(BOUNDS, [counts[at] for at in range(len(BOUNDS) + 1)])


def exponential_of(values: list[float], scale: int) -> Exponential:
    """Return what an SDK makes of values: bucket i holds (base ** i, base ** (i + 1)]."""
    indices = Counter(ceil(log2(value) * 2.0**scale) - 1 for value in values if value > 1e-4)
    first, last = (min(indices), max(indices)) if indices else (0, -1)
    zero = sum(value <= 1e-4 for value in values)
    return Exponential(
        scale=scale, threshold=1e-4, zero=zero, offset=first, counts=[indices[at] for at in range(first, last + 1)]
    )


def buckets_of(values, scale):
    return bounds_of(values) if scale is None else exponential_of(values, scale)


lives = st.lists(st.lists(st.lists(durations, max_size=12), min_size=1, max_size=8), min_size=1, max_size=4)
"""Lives of a process; in each, what was counted before each of its exports."""


def played(lives, gaps, scale, *, delta, also=()):
    """Export lives one after the other, each export some seconds after the last one."""
    one, end, number = Partition(), 1.0, 0
    for life in lives:
        start, seen = end + 0.01, []
        for values in life:
            before, end = end, end + gaps[number % len(gaps)]
            number += 1
            seen = values if delta else seen + values
            began = max(start, before) if delta else start
            told = point(end, len(seen), start=began, buckets=buckets_of(seen, scale), delta=delta)
            for _ in range(1 + (number in also)):
                one.take(export(end, told))
    return one.until(int(end) + 100)


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("scale", [None, -1, 3, 5])
@given(
    lives=lives,
    gaps=st.lists(st.sampled_from([0.2, 0.9, 1.0, 1.1, 2.5, 5.0, 60.0]), min_size=1, max_size=5),
    also=st.sets(st.integers(1, 30), max_size=5),
)
def test_any_split_into_exports_gives_the_same_sums(delta, scale, lives, gaps, also):
    """Lives of a process are resets: none makes a count negative, or counts twice. ``also``: exports that come twice."""
    one = played(lives, gaps, scale, delta=delta, also=also)
    values = [value for life in lives for export_ in life for value in export_]
    assert one.requests == len(values)
    assert sum(one.slots.values()) == len(values)
    if scale == 3:
        expected = Counter(min(max(ceil(log2(value) * 8) - 1, -80), 79) if value > 1e-4 else -80 for value in values)
        assert one.slots == expected


@given(
    values=st.lists(latencies, min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
    scale=st.sampled_from([None, 4]),
)
def test_exports_in_another_order_lose_nothing_that_the_last_one_holds(values, order, scale):
    exports, seen = [], []
    for number, some in enumerate(values, start=1):
        seen = seen + some
        exports.append(export(number * 0.1, point(number * 0.1, len(seen), buckets=buckets_of(seen, scale))))
    first, last = exports[0], exports[-1]
    between = exports[1:-1]
    order.shuffle(between)
    one = Partition()
    for told in [first, *between, last][: max(2, len(exports))] if len(exports) > 1 else exports:
        one.take(told, at=1)
    assert one.until(100).requests == sum(map(len, values))


@pytest.mark.parametrize("scale", [None, 0, 3, 5, 6])
@given(values=st.lists(st.floats(0.002, 9.0), min_size=1, max_size=300), share=st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_stays_in_the_bucket_of_the_true_one(scale, values, share):
    """Within half a slot (4.33 %) of a bucket's edges; where buckets are as narrow as our slots, within 4.33 % of the truth."""
    one = Partition().take(export(1, point(1, len(values), buckets=buckets_of(values, scale)))).until(100)
    slots = [one.slots.get(index, 0) for index in range(-80, 80)]
    told = quantile_s(slots, share)
    truth = sorted(values)[max(1, ceil(len(values) * share)) - 1]
    if scale is None:
        at = bisect_left(BOUNDS, truth)
        low, high = BOUNDS[at - 1], BOUNDS[at]
    else:
        index = ceil(log2(truth) * 2.0**scale) - 1
        low, high = (2.0 ** (at / 2.0**scale) for at in (index, index + 1))
    assert told is not None
    if scale is not None and scale >= 3:
        assert abs(told - truth) <= truth * RELATIVE_ERROR * 1.0001
    assert low * (1 - 2 * RELATIVE_ERROR) <= told <= high * (1 + 2 * RELATIVE_ERROR)


@given(
    good=st.dictionaries(st.integers(NO_LATENCY, 159), st.integers(1, 10_000), max_size=30),
    failed=st.dictionaries(st.integers(NO_LATENCY, 159), st.integers(1, 100), max_size=5),
    seconds=st.integers(1, 75),
)
def test_what_is_dealt_out_adds_up_and_no_second_gets_two_more_than_another(good, failed, seconds):
    portion = Portion(100, seconds, good, failed)
    sums, totals = (Counter(), Counter()), []
    for second in range(100, 100 + seconds):
        shares = [dict(share) for share in portion.share(second)]
        for total, share in zip(sums, shares, strict=True):
            total.update(share)
        totals.append(sum(sum(share.values()) for share in shares))
        assert all(count > 0 for share in shares for count in share.values())
    assert sums == (good, failed)
    assert max(totals) - min(totals) <= 1
