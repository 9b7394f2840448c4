"""The OpenAPI 3.1 document, made of the routes and the structs that they really decode and encode.

msgspec writes the schemas: the same library, and the same constraints, that check each request.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from tidegate.api.control.calls import Nothing, Route
from tidegate.api.control.problems import MEDIA_TYPE, ProblemBody
from tidegate.wire.envelope import Envelope

BASE = "/api/v1"
PROBLEMS = {
    "400": "Something in the request is not as it should be; each fault has its path",
    "401": "No token, or none that opens anything",
    "403": "The token does not open this",
    "404": "There is no such thing, or not for this token",
    "409": "Refused: a conflict with how things stand",
    "413": "The body is too large",
    "422": "Refused: the document, or an Idempotency-Key that was used for something else",
    "428": "If-Match is missing",
    "429": "Too many requests",
    "503": "The log has not been read to its end yet, or no broker answers",
}
LAG = {
    "Tidegate-Lag-Seconds": {
        "description": "Seconds since what is told was known to be all there is",
        "schema": {"type": "number"},
    }
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the document of some routes."""
    listed = list(routes)
    kinds = [kind for one in listed for kind in (one.answer, one.body) if kind is not None] + [ProblemBody, Envelope]
    queries = [one.query for one in listed if one.query is not Nothing]
    schemas, components = msgspec.json.schema_components([*kinds, *queries], ref_template="#/components/schemas/{name}")
    refs = dict(zip(map(_known_as, [*kinds, *queries]), schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in listed:
        paths.setdefault(BASE + route.path, {})[route.method.lower()] = _operation(route, refs, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate control API",
            "version": "1",
            "description": "What an installation knows, with its age, and signed intents. Errors are problem+json.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{"bearer": []}, {"key": []}],
    }


def _operation(route: Route, refs: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    problem = {MEDIA_TYPE: {"schema": refs[_known_as(ProblemBody)]}}
    answers: dict[str, Any] = {code: {"description": text, "content": problem} for code, text in PROBLEMS.items()}
    content = {"application/json": {"schema": refs[_known_as(route.answer)]}} if route.answer is not None else {}
    media = content or {"text/event-stream": {"schema": {"type": "string"}}}
    answers["200"] = {"description": route.summary, "content": media, "headers": LAG}
    if route.decides:
        answers["202"] = {"description": "No decision came in time; Location says where to look", "content": content}
    found: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "x-right": str(route.right),
        "parameters": [*_in_path(route), *_in_query(route, refs, components), *_in_headers(route)],
        "responses": dict(sorted(answers.items())),
    }
    body = Envelope if route.envelope else route.body
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": refs[_known_as(body)]}}}
    return found


def _in_path(route: Route) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1, "maxLength": 128}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in route.parameters]


def _in_query(route: Route, refs: dict[str, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    if route.query is Nothing:
        return []
    schema = components[refs[_known_as(route.query)]["$ref"].rpartition("/")[2]]
    return [{"name": name, "in": "query", "schema": value} for name, value in schema["properties"].items()]


def _in_headers(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if route.decides and not route.envelope:
        key = {"type": "string", "maxLength": 128}
        found.append({"name": "Idempotency-Key", "in": "header", "description": "Sent again, it counts once", "schema": key})
        match = {"name": "If-Match", "in": "header", "description": "The generation that you saw", "schema": {"type": "string"}}
        found.append(match | ({"required": True} if route.conditional else {}))
    return found


def _known_as(kind: Any) -> str:
    return repr(kind)


__all__ = ["BASE", "document"]
