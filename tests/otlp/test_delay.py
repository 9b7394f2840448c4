"""What an export interval costs: how long after a release goes bad its rows show it (figures of docs/opentelemetry.md)."""

from statistics import quantiles

import pytest
from tests.otlp.kit import Partition, explicit, export, point

RATE, BAD = 50, 0.5
"""Requests a second of one process, and the share that fails."""
AFTER_S = 0.15 + 1.0
"""Rows go out this long after their second; its pane closes a second after its end."""
BAD_SINCE_S = 200.0


def seconds_until_gross(interval_s: float, phase: float) -> float:
    """Return how long after the first failure a pane with ten errors and a fifth of its requests closes."""
    one, end = Partition(since=0), 100.0 + phase
    while end < BAD_SINCE_S + 4 * interval_s + 4:
        requests = round((end - 100) * RATE)
        failed = round(max(0.0, end - BAD_SINCE_S) * RATE * BAD)
        good = requests - failed
        one.take(
            export(
                end,
                point(end, good, start=99.0, buckets=explicit(0, good, 0, 0)),
                point(end, failed, start=99.0, buckets=explicit(0, failed, 0, 0), series="failed", failed=True),
            )
        )
        end += interval_s
    one.until(int(end) + 10)
    second = next(at for at, requests, errors in one.told if errors >= 10 and errors * 5 >= requests)
    return second + 1 + AFTER_S - BAD_SINCE_S


@pytest.mark.parametrize(("interval_s", "most_s"), [(1.0, 3.2), (2.0, 4.2), (5.0, 8.2), (10.0, 15.2)])
def test_ten_errors_show_within_an_interval_and_a_half(interval_s, most_s, say):
    """The export in which it goes bad holds good requests too: where they are too many, it is the next one that shows it."""
    found = sorted(seconds_until_gross(interval_s, phase / 20 * interval_s) for phase in range(20))
    cuts = quantiles(found, n=20)
    say(f"exports every {interval_s:g} s: gross errors show after {cuts[9]:.1f} s (median), {found[-1]:.1f} s at most")
    assert found[-1] <= most_s + 0.01
    assert found[0] >= AFTER_S
