"""The document says what is served: whatever is made of it is answered in its words, and never by a fault of the server."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests.api.control.kit import BASE, Installation, installed, quiet
from tests.api.control.test_documents import policy
from tests.api.control.test_flags import DEFINITION, GUARDED, SPEC, STAGES

from tidegate.api.roles import Role
from tidegate.wire.documents import KeyRole

CASES, WHOLE = 500, 10_000
NAMES = st.sampled_from(["shop", "web", "dark", "n1", "p1", "night", "x", "a b", "ä", "%00", "$evaluators", "a" * 200])
THERE = {"service": "shop", "set": "web", "flag": "dark", "node": "n1"}
"""What there is, by its part of the path."""
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
SOME = st.sampled_from(
    [
        "",
        "x",
        "0",
        "1",
        "60",
        "100",
        "-1",
        "1.5",
        "true",
        "shop",
        "svc/shop",
        "web/dark",
        "kpi,alarm",
        "9" * 40,
        "\u0000",
        "é",
        "null",
    ]
)
TEXTS = st.sampled_from(["30m", "2h", "p1", "shop", "on", "a reason", "[1", "a" * 300]) | st.text(max_size=20)
WORDS = {
    "definition": st.sampled_from([DEFINITION, DEFINITION | {"variants": {}}]),
    "spec": st.sampled_from([SPEC, GUARDED]),
    "ramp": st.sampled_from([STAGES, None]),
    "reason": st.sampled_from(["a reason", ""]),
}
"""What people write there, beside what the schema allows."""


def of_schema(schema: dict[str, Any], components: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a schema allows, mostly; now and then anything at all."""
    if "$ref" in schema:
        return of_schema(components[schema["$ref"].rpartition("/")[2]], components)
    if "anyOf" in schema:
        return st.one_of([of_schema(one, components) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object" if "properties" in schema:
            parts = {name: _part(name, part, components) for name, part in schema["properties"].items()}
            need = {name: part for name, part in parts.items() if name in schema.get("required", ())}
            return st.fixed_dictionaries(need, optional={name: part for name, part in parts.items() if name not in need})
        case "string":
            return TEXTS
        case "integer":
            return st.integers(schema.get("minimum", -5), schema.get("maximum", 10_000)) | st.integers()
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(of_schema(schema.get("items", {}), components), max_size=3)
        case "null":
            return st.none()
    return ANY


def _part(name: str, schema: dict[str, Any], components: dict[str, Any]) -> st.SearchStrategy[Any]:
    usual = [WORDS[name]] if name in WORDS else []
    return st.one_of([*usual, of_schema(schema, components), ANY])


async def test_the_document_is_whole(world):
    async with quiet(world) as here, here.serve():
        document, routes = (await here.get("/openapi.json")).json(), here.control.routes
    assert document["openapi"] == "3.1.0"
    operations = {
        (method.upper(), path.removeprefix(BASE)): one for path, item in document["paths"].items() for method, one in item.items()
    }
    assert set(operations) == {(one.method, one.path) for one in routes}
    assert len({one["operationId"] for one in operations.values()}) == len(routes)
    for (_, path), one in operations.items():
        assert {part["name"] for part in one["parameters"] if part["in"] == "path"} == set(re.findall(r"{(\w+)}", path))
        assert {"200", "400", "401", "403", "503"} <= set(one["responses"])
    refs = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(document)))
    assert refs <= set(document["components"]["schemas"])
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("cases", [CASES, pytest.param(WHOLE, marks=pytest.mark.thorough)])
async def test_whatever_is_asked_is_answered_as_the_document_says(
    world: Any, monkeypatch: pytest.MonkeyPatch, say: Callable[[str], None], cases: int
) -> None:
    monkeypatch.setattr("tidegate.api.control.guard.WRITES_PER_S", 1e6)
    async with installed(world) as here:
        here.token("admin", Role.ADMIN)
        here.token("viewer", Role.VIEWER)
        here.token("shop", Role.OPERATOR, "shop", "flag/web/*")
        async with here.serve():
            here.control.asks.within_s = 0.05
            await here.start("admin")
            await here.post("/flags/web/dark/set", "admin", {"spec": SPEC, "reason": "new"}, If_Match='"0"')
            fuzz = Fuzz(here, (await here.get("/openapi.json", "admin")).json())
            await asyncio.to_thread(fuzz.run, cases)
            assert (await here.get("/rollouts/shop", "admin")).status_code == 200
        # Both what is right and what is wrong was asked, and of every route.
        assert {200, 400, 401, 403, 404, 409, 428} <= fuzz.statuses.keys()
        assert fuzz.asked == {one.name for one in here.control.routes}
        told = ", ".join(f"{status}: {times}" for status, times in sorted(fuzz.statuses.items()))
        say(f"control API, {sum(fuzz.statuses.values())} cases made of its document, no fault: {told}")


class Fuzz:
    """Asks for what the document describes, and for what is near it; looks at every answer by the document's own schemas."""

    def __init__(self, here: Installation, document: dict[str, Any]) -> None:
        self._here = here
        self._session = requests.Session()
        self._document = document
        self._components = document["components"]["schemas"]
        self._validators: dict[str, Draft202012Validator] = {}
        self._signed = [here.signed("p2"), policy(here), here.signed("p3", by=here.world.home.signer(KeyRole.API))]
        self.statuses: Counter[int] = Counter()
        self.asked: set[str] = set()

    def run(self, cases: int) -> None:
        """Ask so many times, of every route as often."""
        operations = [(path, method) for path, item in self._document["paths"].items() for method in item]
        for path, method in operations:
            self._fuzz(path, method, -(-cases // len(operations)))

    def _fuzz(self, path: str, method: str, cases: int) -> None:
        @settings(max_examples=cases, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def fuzz(data: st.DataObject) -> None:
            self._ask(data, path, method)

        fuzz()

    def _ask(self, data: st.DataObject, path: str, method: str) -> None:
        operation = self._document["paths"][path][method]
        drawn = {name: data.draw(st.just(THERE.get(name, "x")) | NAMES) for name in re.findall(r"{(\w+)}", path)}
        where = path.format_map({name: requests.utils.quote(one, safe="") for name, one in drawn.items()})
        asked = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
        query = data.draw(st.dictionaries(st.sampled_from([*asked, "other"]), SOME, max_size=3))
        named = st.sampled_from(["If-Match", "Idempotency-Key", "Last-Event-ID"])
        headers = data.draw(st.dictionaries(named, st.sampled_from(['"1"', "2", "x", "1.2.3.4.5.6.7"])))
        by = data.draw(st.sampled_from(["admin"] * 6 + ["viewer", "shop", ""]))
        found = self._session.request(
            method.upper(),
            self._here.served.url + where,
            params=query,
            data=self._body(data, operation),
            headers=headers | ({"Authorization": f"Bearer {self._here.texts[by]}"} if by else {}),
            timeout=30,
            stream=True,
        )
        self.statuses[found.status_code] += 1
        self.asked.add(operation["operationId"])
        try:
            self._check(found, operation)
        finally:
            found.close()

    def _body(self, data: st.DataObject, operation: dict[str, Any]) -> bytes | None:
        if "requestBody" not in operation:
            return None
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        some = of_schema(schema, self._components).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
        return data.draw(st.sampled_from(self._signed) | some if schema.get("$ref", "").endswith("/Envelope") else some)

    def _check(self, found: requests.Response, operation: dict[str, Any]) -> None:
        name, status = operation["operationId"], str(found.status_code)
        assert found.status_code < 500, (name, found.text)
        if found.status_code == 405:
            return  # a name made another path of it
        assert status in operation["responses"], (name, status)
        media = found.headers["content-type"].partition(";")[0]
        told = operation["responses"][status]["content"]
        assert media in told, (name, status, media)
        if media == "text/event-stream":
            assert next(found.iter_content(3)) == b"id:"
            return
        key = f"{name} {status if found.status_code < 300 else ''}"
        if key not in self._validators:
            self._validators[key] = Draft202012Validator(told[media]["schema"] | {"components": self._document["components"]})
        assert found.content, (name, status)
        self._validators[key].validate(found.json())
