"""What every format must keep to: how many series of a page may be wanted, and what a bucket may say."""

from math import isfinite, isnan

from tidegate.node.scrape.fetch import ScrapeFailed

SERIES_MAX = 10_000
"""Wanted series of a page; of histograms each bucket is one."""
TOO_MANY = f"more than {SERIES_MAX} series are wanted; select fewer of them by their labels"


def bucket(bound_s: float, count: float) -> tuple[float, float]:
    """Return a bucket; ScrapeFailed where it says what none can."""
    if isnan(bound_s) or not isfinite(count) or count < 0:
        raise ScrapeFailed(f"a bucket up to {bound_s} counts {count}")
    return bound_s, count
