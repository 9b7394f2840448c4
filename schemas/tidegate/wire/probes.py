"""What a plan may ask each node agent to ask its own copy of the service (I2): ``probe`` in the plan file.

A plan says what to ask and never whom: the address is the node's own word, so no signed document sends a node anywhere else.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.names import Duration, duration_ms

INTERVAL_LEAST_MS = 100
INTERVAL_MOST_MS = 60_000
TIMEOUT_LEAST_MS = 10
TIMEOUT_MOST_MS = 10_000
HEADERS_MAX = 16
OWN_HEADERS = frozenset(("connection", "content-length", "host", "transfer-encoding", "user-agent"))
"""What the agent itself says with every question."""
HTTP_ONLY = ("method", "headers", "body", "status", "contains")

Path = Annotated[str, Meta(pattern=r"^/[!-~]{0,2047}$(?!\n)", description="a path of plain characters, such as /health")]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$(?!\n)", description="the name of a header")]
HeaderText = Annotated[str, Meta(pattern=r"^[ -~]{0,1024}$(?!\n)", description="at most 1024 plain characters on one line")]


class Method(StrEnum):
    """How it is asked."""

    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"


class Probe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """One question, asked of every copy of the service every ``interval``. Exactly one of ``http`` and ``tcp``.

    What is asked must do no harm when it is asked often, and twice. Answers make the slice ``probe``: rows of their own, judged
    beside those of people's requests and never added to them.
    """

    http: Path | None = None
    """Path and query that are asked for."""
    tcp: bool = False
    """Only whether a connection is taken."""
    method: Method = Method.GET
    headers: Annotated[dict[HeaderName, HeaderText], Meta(max_length=HEADERS_MAX)] = {}
    body: Annotated[str, Meta(max_length=16 << 10)] = ""
    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    """The one that is right; none: any from 200 to 299."""
    contains: Annotated[str, Meta(max_length=1024)] = ""
    """A fragment of a right answer's first 64 KiB."""
    interval: Duration = "1s"
    timeout: Duration = "1s"
    """From connecting to the last byte; later is an error."""
    counts: bool = False
    """Whether a release may pass on probes: they count toward ``minRequests``, and of a service that sends no telemetry they say
    that it is there.
    """


_PLAIN = Probe()


def question_of(probe: Probe) -> str:
    """Return what is asked, for people.

    >>> question_of(Probe(http="/health")), question_of(Probe(tcp=True))
    ('GET /health', 'connect')
    """
    return f"{probe.method} {probe.http}" if probe.http is not None else "connect"


def same_question(one: Probe | None, other: Probe | None) -> bool:
    """Return whether answers to both may be compared: how often it is asked, and for what it counts, does not matter."""
    if one is None or other is None:
        return one is other
    asked = ("http", "tcp", *HTTP_ONLY)
    return all(getattr(one, name) == getattr(other, name) for name in asked)


def probe_faults(probe: Probe) -> Iterator[tuple[str, str]]:
    """Yield what types cannot see, as (path, problem)."""
    if (probe.http is None) == (not probe.tcp):
        yield "probe", "give exactly one of http (a path, such as /health) and tcp: true"
    for name in HTTP_ONLY if probe.tcp else ():
        if getattr(probe, name) != getattr(_PLAIN, name):
            yield f"probe.{name}", "belongs to http; a connection alone has none"
    if probe.body and probe.method is not Method.POST:
        yield "probe.body", f"{probe.method} sends none; write method: POST"
    if probe.contains and probe.method is Method.HEAD:
        yield "probe.contains", "an answer to HEAD has no body; write method: GET"
    for name in probe.headers:
        if name.lower() in OWN_HEADERS:
            yield f"probe.headers.{name}", "is said by the agent itself; leave it out"
    spans = (("interval", INTERVAL_LEAST_MS, INTERVAL_MOST_MS), ("timeout", TIMEOUT_LEAST_MS, TIMEOUT_MOST_MS))
    for name, least_ms, most_ms in spans:
        if not least_ms <= duration_ms(getattr(probe, name)) <= most_ms:
            yield f"probe.{name}", f"must be from {least_ms}ms to {most_ms // 1_000}s"
