"""Which series of a page are the requests, the errors and the latency; and those of the usual exporters, where nobody says."""

from collections.abc import Mapping

from msgspec import Struct

from tidegate.scrape.increase import level, measured
from tidegate.scrape.page import Page, Wanted
from tidegate.scrape.selector import How, Matcher, Selector

Selectors = tuple[Selector, ...]
"""What any of them selects, each series once."""

STATUS_LABELS = ("http_response_status_code", "http_status_code", "status_code", "status", "code")
"""Labels under which instrumentations say how a request was answered."""
_FAILED = "5.."
"""Server errors: 500 to 599, and 5xx where only the class is told."""


class Traffic(Struct, frozen=True):
    """What counts requests, and what of that counts those that failed."""

    requests: Selectors
    errors: Selectors


class Measures(Struct, frozen=True, kw_only=True):
    """What is taken from a page. Of ``traffic`` and ``latency`` the first one that is there counts."""

    traffic: tuple[Traffic, ...]
    latency: Selectors
    gauges: Mapping[str, Selectors] = {}
    counters: Mapping[str, Selectors] = {}
    ratios: Mapping[str, tuple[Selectors, Selectors]] = {}
    """(part, whole)."""

    @property
    def wanted(self) -> Wanted:
        """The names to look for."""
        found: set[str] = set()
        for traffic in self.traffic:
            found |= _names(traffic.requests) | _names(traffic.errors)
        for selectors in (*self.gauges.values(), *self.counters.values()):
            found |= _names(selectors)
        for part, whole in self.ratios.values():
            found |= _names(part) | _names(whole)
        return Wanted(frozenset(found), frozenset(_names(self.latency)))

    def traffic_of(self, page: Page) -> Traffic | None:
        """Return what counts requests on a page."""
        return next((one for one in self.traffic if level(page, one.requests) is not None), None)

    def latency_of(self, page: Page) -> Selector | None:
        """Return what counts latencies on a page."""
        return next((one for one in self.latency if measured(page, one)), None)


def failed(requests: Selectors) -> Selectors:
    """Return the server errors among requests, under whatever label their status stands."""
    return tuple(one.and_also(Matcher(label, How.MATCHES, _FAILED)) for one in requests for label in STATUS_LABELS)


def counted_by(histogram: Selector) -> Traffic:
    """Return the requests that a histogram of latencies counts."""
    requests = (Selector(f"{histogram.name}_count", histogram.matchers),)
    return Traffic(requests, failed(requests))


_OPENTELEMETRY = Selector("http_server_request_duration_seconds")
_OPENTELEMETRY_OLD = Selector("http_server_duration_milliseconds")
_MICROMETER = Selector("http_server_requests_seconds")
_CLIENTS = Selector("http_request_duration_seconds")
_CLIENTS_TOTAL = (Selector("http_requests_total"),)

USUAL_LATENCY: Selectors = (_OPENTELEMETRY, _MICROMETER, _CLIENTS, _OPENTELEMETRY_OLD)
USUAL_TRAFFIC: tuple[Traffic, ...] = (
    counted_by(_OPENTELEMETRY),
    counted_by(_MICROMETER),
    Traffic(_CLIENTS_TOTAL, failed(_CLIENTS_TOTAL)),
    counted_by(_CLIENTS),
    counted_by(_OPENTELEMETRY_OLD),
)


def _names(selectors: Selectors) -> set[str]:
    return {one.name for one in selectors}
