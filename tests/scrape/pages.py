"""Pages for tests, without a format."""

from math import inf

from tidegate.scrape.measures import USUAL_LATENCY, USUAL_TRAFFIC, Measures
from tidegate.scrape.page import Page
from tidegate.scrape.selector import Series

TOTAL = "http_requests_total"
SECONDS = "http_request_duration_seconds"
USUAL = Measures(traffic=USUAL_TRAFFIC, latency=USUAL_LATENCY)


def series(name, **labels):
    return Series(name, tuple(sorted(labels.items())))


def page(ok=0, failed=0, *, start_s=None, latency=None, created=None, **numbers):
    """``latency``: cumulative counts up to 0.1 s, 1 s and above."""
    found = Page(numbers={series(TOTAL, code="200"): float(ok), series(TOTAL, code="503"): float(failed)}, start_s=start_s)
    found.numbers |= {series(name): float(value) for name, value in numbers.items()}
    if latency is not None:
        found.classic[series(SECONDS)] = dict(zip((0.1, 1.0, inf), map(float, latency), strict=True))
    if created is not None:
        found.created = {series("http_requests", code=code): created for code in ("200", "503")} | {series(SECONDS): created}
    return found
