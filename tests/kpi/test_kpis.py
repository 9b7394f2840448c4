import json

from hypothesis import given
from hypothesis import strategies as st

from tidegate.kpi.buckets import quantile_s, slot_of
from tidegate.kpi.kpis import kpi_of
from tidegate.kpi.sums import Sums
from tidegate.kpi.windows import Window


def test_ratios_are_of_sums_and_rates_of_seconds():
    sums = Sums(10, 200, 5, [], {"queue": (30.0, 4)}, {"cache": (3, 4), "idle": (0, 0)}, {"orders": 50})
    kpi = kpi_of("shop", "canary", 20_000, 10, Window(sums=sums, nodes={"a", "b"}, expected=25, reported=20), None)
    assert (kpi.start_ms, kpi.rate, kpi.error_ratio) == (10_000, 20.0, 0.025)
    assert (kpi.nodes, kpi.nodes_expected, kpi.coverage) == (2, 3, 0.8)
    assert kpi.values == {"gauge.queue": 7.5, "ratio.cache": 0.75, "counter.orders": 5.0}
    assert (kpi.subject, kpi.placement) == ("svc/shop", "")


def test_without_requests_quantiles_are_a_number_that_says_so():
    kpi = kpi_of("shop", "rest", 1_000, 1, Window(sums=Sums(panes=1)), None)
    assert (kpi.p50_ms, kpi.p95_ms, kpi.p99_ms, kpi.error_ratio, kpi.coverage) == (-1.0, -1.0, -1.0, 0.0, 0.0)
    assert json.loads(kpi.flat())["p95_ms"] == -1.0


@given(st.lists(st.floats(0.0005, 2_000), min_size=1, max_size=200))
def test_its_quantiles_are_those_of_the_buckets(values):
    counts = [0] * 160
    for value in values:
        counts[slot_of(value)] += 1
    kpi = kpi_of("shop", "rest", 1_000, 1, Window(sums=Sums(1, len(values), 0, counts)), None)
    assert [kpi.p50_ms, kpi.p95_ms, kpi.p99_ms] == [round(quantile_s(counts, share) * 1_000, 3) for share in (0.5, 0.95, 0.99)]


def test_a_cohort_that_began_inside_a_window_has_the_rate_of_its_own_seconds():
    kpi = kpi_of("shop", "canary", 20_000, 10, Window(sums=Sums(3, 300, 0, [], {}, {}, {"orders": 30})), None)
    assert (kpi.rate, kpi.values["counter.orders"]) == (100.0, 10.0)
