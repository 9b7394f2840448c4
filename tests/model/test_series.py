"""A track keeps the newest windows of one cohort, each once, in the order of their ends."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tidegate.model.series import Track
from tidegate.wire.judgement import Kpi

KPI = Kpi(
    service="shop",
    cohort="canary",
    subject="svc/shop",
    placement="p",
    version="v1",
    window_s=1,
    start_ms=0,
    end_ms=0,
    requests=10,
    errors=1,
    nodes=1,
    nodes_expected=1,
    coverage=1.0,
    rate=10.0,
    error_ratio=0.1,
    p50_ms=1.0,
    p95_ms=-1.0,
    p99_ms=3.0,
)


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 10), st.integers(0, 60))
def test_it_holds_the_newest_of_what_was_new_when_it_came(ends: list[int], kept: int, since: int) -> None:
    track, new = Track(kept), []
    for end_ms in ends:
        track.add(replace(KPI, end_ms=end_ms, requests=end_ms * 2))
        new += [end_ms] if not new or end_ms > new[-1] else []
    expected = [end_ms for end_ms in new[-kept:] if end_ms >= since]
    found = track.series(since)
    assert (found.end_ms if found is not None else []) == expected
    if found is not None:
        assert found.requests == [end_ms * 2 for end_ms in expected]
        assert (found.error_ratio, found.p95_ms) == ([0.1] * len(expected), [None] * len(expected))
