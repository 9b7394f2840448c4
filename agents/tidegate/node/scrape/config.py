"""``services.<name>.scrape`` of the node's file: where the page is, and what on it counts."""

from collections.abc import Iterator, Mapping
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from tidegate.scrape.measures import USUAL_LATENCY, USUAL_TRAFFIC, Measures, Selectors, Traffic, counted_by, failed
from tidegate.scrape.selector import parse
from tidegate.wire.codec import Malformed
from tidegate.wire.names import Label
from tidegate.wire.telemetry import FIELDS_MAX

Text = str | tuple[str, ...]
"""One selector, or several: what any of them selects is added up, each series once."""


class RatioConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part and the whole it is a part of: two counters, such as hits and look-ups of a cache."""

    part: Text
    whole: Text


class ScrapeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything may be left out: ``scrape: {}`` takes ``/metrics`` of ``listen``, and there what the usual exporters write.

    ``requests`` alone: its errors are those with a status of 5xx. ``latency`` alone: its histogram also counts the requests.
    """

    url: str = ""
    requests: Text | None = None
    errors: Text | None = None
    latency: str | None = None
    gauges: Annotated[dict[Label, Text], Meta(max_length=FIELDS_MAX)] = {}
    counters: Annotated[dict[Label, Text], Meta(max_length=FIELDS_MAX)] = {}
    ratios: Annotated[dict[Label, RatioConfig], Meta(max_length=FIELDS_MAX)] = {}


def url_of(config: ScrapeConfig, listen: str | None) -> str:
    """Return where the page is."""
    return config.url or f"http://{listen}/metrics"


def measures_of(config: ScrapeConfig) -> Measures:
    """Return what is taken from a page; Malformed where ``faults`` would say so."""
    latency = USUAL_LATENCY if config.latency is None else (parse(config.latency),)
    traffic = USUAL_TRAFFIC if config.latency is None else (counted_by(latency[0]),)
    if config.requests is not None:
        requests = _selectors(config.requests)
        traffic = (Traffic(requests, failed(requests)),)
    if config.errors is not None:
        errors = _selectors(config.errors)
        traffic = tuple(Traffic(one.requests, errors) for one in traffic)
    return Measures(
        traffic=traffic,
        latency=latency,
        gauges=_each(config.gauges),
        counters=_each(config.counters),
        ratios={name: (_selectors(one.part), _selectors(one.whole)) for name, one in config.ratios.items()},
    )


def faults(config: ScrapeConfig, listen: str | None) -> Iterator[tuple[str, str]]:
    """Yield every fault as (path, problem)."""
    if not config.url and listen is None:
        yield "url", "say where the page is, such as http://127.0.0.1:8101/metrics: this service has no listen to take it from"
    elif problem := _fault_of_url(url_of(config, listen)):
        yield "url", problem
    if config.errors is not None and config.requests is None and config.latency is None:
        yield "requests", "say what counts all requests too: errors are a share of them"
    for path, text in _texts(config):
        for selector in (text,) if isinstance(text, str) else text:
            try:
                parse(selector)
            except Malformed as error:
                yield path, error.problem


def _fault_of_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"{url} is no address: {error}"
    if parts.scheme != "http" or not parts.hostname or port == 0:
        return f"{url} cannot be asked; write http://HOST:PORT/PATH of a page on this machine"
    if parts.username is not None:
        return f"{url} holds a user name; pages that need a password are not asked"
    if not url.isascii() or any(character.isspace() for character in url):
        return f"{url!r} holds what no address may; escape it with %"
    return ""


def _texts(config: ScrapeConfig) -> Iterator[tuple[str, Text]]:
    single = (("requests", config.requests), ("errors", config.errors), ("latency", config.latency))
    yield from ((path, text) for path, text in single if text is not None)
    yield from ((f"gauges.{name}", text) for name, text in config.gauges.items())
    yield from ((f"counters.{name}", text) for name, text in config.counters.items())
    for name, ratio in config.ratios.items():
        yield from ((f"ratios.{name}.part", ratio.part), (f"ratios.{name}.whole", ratio.whole))


def _selectors(text: Text) -> Selectors:
    return tuple(map(parse, (text,) if isinstance(text, str) else text))


def _each(texts: Mapping[str, Text]) -> dict[str, Selectors]:
    return {name: _selectors(text) for name, text in texts.items()}
