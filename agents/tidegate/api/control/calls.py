"""One request as a route sees it: who asks, with which words, under which conditions; and one answer."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from tidegate.api.control.problems import Declined
from tidegate.api.roles import Right, Role, allows
from tidegate.runtime.faults import Fault, faults_of
from tidegate.wire.flags import TopicKey
from tidegate.wire.groups import GROUP_PREFIX
from tidegate.wire.names import is_name, service_subject

KEY = re.compile(r"[!-~]{1,128}")
VERBATIM = re.compile("^expected raw|is not raw$")
TAG = re.compile(r'(?:W/)?"?([0-9]{1,18})"?')


class Visitor(Struct, frozen=True):
    """Who asks. ``name`` is empty where no token is needed."""

    name: str
    role: Role
    scopes: tuple[str, ...] = ()
    expires_ms: int = 0
    """Of the token; 0: it does not end by itself."""

    def may(self, right: Right, subject: str = "") -> bool:
        """Return whether something may be done, to a subject or to the fleet as a whole."""
        return allows(self.role, self.scopes, right, subject)

    def sees(self, *subjects: str) -> bool:
        """Return whether something that concerns these subjects may be seen: any of them, or there are none."""
        return not subjects or any(self.may(Right.READ, one) for one in subjects)


class Call(Struct, frozen=True, kw_only=True):
    """A request. ``query`` and ``body`` are what the route asks for."""

    visitor: Visitor
    path: Mapping[str, str]
    query: Any
    body: Any
    raw: bytes
    headers: Mapping[str, str]

    @property
    def idempotency_key(self) -> str:
        """What tells a repeated request; empty: nothing. Declined where it is none."""
        text = self.headers.get("idempotency-key", "")
        if text and not KEY.fullmatch(text):
            fault = ("header.Idempotency-Key", "1 to 128 printable characters without blanks")
            raise Declined(HTTPStatus.BAD_REQUEST, "this is no Idempotency-Key", "send a UUID", faults=[fault])
        return text

    @property
    def expected(self) -> int | None:
        """The generation that the caller saw; None: it does not say. Declined where it is none."""
        text = self.headers.get("if-match", "").strip()
        if not text:
            return None
        match = TAG.fullmatch(text)
        if match is None:
            fault = ("header.If-Match", 'a generation, as in "7"')
            raise Declined(HTTPStatus.BAD_REQUEST, "this is no generation", "send the ETag of what you saw", faults=[fault])
        return int(match[1])


class Reply(Struct, frozen=True):
    """An answer. ``body`` is a struct, or bytes that are JSON already."""

    body: Any
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = {}
    media_type: str = "application/json"


Handle = Callable[[Call], Awaitable[Reply]]


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No query."""


class Route(Struct, frozen=True, kw_only=True):
    """One thing that may be asked. What has no row of these is not served; a row names the right that it takes."""

    method: str
    path: str
    right: Right
    summary: str
    handle: Handle
    answer: Any
    """Type of the body; None: it is no JSON."""
    query: type[Struct] = Nothing
    body: type[Struct] | None = None
    body_bytes_max: int = 64 << 10
    envelope: bool = False
    """The body is a signed envelope, taken verbatim."""
    conditional: bool = False
    """``If-Match`` must say which generation the caller saw."""
    decides: bool = False
    """A write: it takes an Idempotency-Key and may be answered by 202."""

    @property
    def name(self) -> str:
        """Identifier of the operation.

        >>> Route(method="GET", path="/a/{b}/c", right=Right.READ, summary="", handle=None, answer=None).name
        'get_a_b_c'
        """
        words = re.sub(r"[^A-Za-z0-9]+", "_", self.path).strip("_")
        return f"{self.method.lower()}_{words}"

    @property
    def parameters(self) -> list[str]:
        """Names in the path."""
        return re.findall(r"{(\w+)}", self.path)


def named(path: Mapping[str, str]) -> str:
    """Return the subject that a path names by ``service``, by ``group``, or by ``set`` and ``flag``; empty where it names none.
    Declined where a part is no name: there is nothing of it.
    """
    for part, text in path.items():
        if not is_name(text):
            raise Declined(HTTPStatus.NOT_FOUND, f"{text[:150]!r} is no name of a {part}", "letters, digits, . _ - (at most 128)")
    if "service" in path:
        return service_subject(path["service"])
    if "group" in path:
        return f"{GROUP_PREFIX}{path['group']}"
    return TopicKey(path["set"], path["flag"]).subject if "flag" in path else ""


def query_of(values: Mapping[str, str], kind: type[Struct]) -> Any:
    """Return a query as what a route asks for. Declined with the path of every fault."""
    found = faults_of(values, kind, strict=False)
    if found:
        raise _faulty("query", found)
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _faulty("query", [("", str(error))]) from error


def body_of(raw: bytes, kind: type[Struct]) -> Any:
    """Return a JSON body as what a route asks for; parts that are signed byte for byte as they came. Declined with the path of
    every fault.
    """
    raw = raw or b"{}"
    try:
        return _json(raw, kind)
    except msgspec.ValidationError as error:
        # Of plain values a part that is kept verbatim can say nothing but that it is none.
        found = [(at, problem) for at, problem in faults_of(_json(raw, Any), kind) if not VERBATIM.search(problem)]
        raise _faulty("body", found or [("", str(error))]) from error


def _json(raw: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Declined(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}", "see /api/v1/openapi.json") from error


def _faulty(at: str, found: Iterable[Fault]) -> Declined:
    faults = [(".".join(filter(None, (at, path))), problem) for path, problem in found]
    return Declined(HTTPStatus.BAD_REQUEST, f"the {at} is not as it should be", "see /api/v1/openapi.json", faults=faults)


__all__ = ["Call", "Handle", "Nothing", "Reply", "Route", "Visitor", "body_of", "named", "query_of"]
