"""The document says what is served: whatever is made of it is answered in its words, and never by a fault of the server."""

import asyncio
import json
import re
from typing import Any

import msgspec
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.api.control.kit import BASE, Installation, installed, quiet

from tidegate.api.control.calls import Route
from tidegate.api.control.problems import ProblemBody
from tidegate.api.roles import Role

CASES = 120
"""More of them, with `make prove`, are not yet asked for."""
NAMES = st.sampled_from(["shop", "web", "dark", "p1", "x", "a b", "ä", "%00", "$evaluators", "a" * 200])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
SOME = st.sampled_from(["", "x", "0", "1", "100", "-1", "1.5", "true", "shop", "web/dark", "9" * 40, "\u0000", "é", "null"])


def of_schema(schema: dict[str, Any], components: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a schema allows, mostly; now and then anything at all."""
    if "$ref" in schema:
        return of_schema(components[schema["$ref"].rpartition("/")[2]], components)
    match schema.get("type"):
        case "object" if "properties" in schema:
            parts = {name: of_schema(part, components) | ANY for name, part in schema["properties"].items()}
            need = {name: part for name, part in parts.items() if name in schema.get("required", ())}
            return st.fixed_dictionaries(need, optional={name: part for name, part in parts.items() if name not in need})
        case "string":
            return st.sampled_from(["30m", "2h", "p1", "shop", "a reason"]) | st.text(max_size=20)
        case "array":
            return st.lists(of_schema(schema.get("items", {}), components), max_size=3)
    return ANY


def test_the_document_is_whole(world):
    async def found() -> dict[str, Any]:
        async with quiet(world) as here, here.serve():
            return {"document": (await here.get("/openapi.json")).json(), "routes": here.control.routes}

    got = asyncio.run(found())
    document, routes = got["document"], got["routes"]
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


async def test_whatever_is_asked_is_answered_as_the_document_says(world):
    async with installed(world) as here:
        here.token("admin", Role.ADMIN)
        async with here.serve():
            here.control.asks.within_s = 0.0
            await here.start("admin")
            document = (await here.get("/openapi.json", "admin")).json()
            routes = [one for one in here.control.routes if one.answer is not None]
            await asyncio.to_thread(_fuzz, here, routes, document)
            assert (await here.get("/rollouts/shop", "admin")).status_code == 200


def _fuzz(here: Installation, routes: list[Route], document: dict[str, Any]) -> None:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {here.texts['admin']}"
    components = document["components"]["schemas"]

    @settings(max_examples=CASES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data(), st.sampled_from(routes))
    def fuzz(data: st.DataObject, route: Route) -> None:
        operation = document["paths"][BASE + route.path][route.method.lower()]
        path = BASE + re.sub(r"{\w+}", lambda _: requests.utils.quote(data.draw(NAMES), safe=""), route.path)
        asked = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
        query = data.draw(st.dictionaries(st.sampled_from([*asked, "other"]), SOME, max_size=3))
        headers = data.draw(st.dictionaries(st.sampled_from(["If-Match", "Idempotency-Key"]), st.sampled_from(['"1"', "2", "x"])))
        body: bytes | None = None
        if route.method == "POST":
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            body = data.draw(of_schema(schema, components).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
        found = session.request(route.method, here.served.url + path, params=query, data=body, headers=headers, timeout=20)
        assert found.status_code < 500, (route.name, found.text)
        if found.status_code == 405:
            return  # a name made another path of it
        assert str(found.status_code) in operation["responses"], (route.name, found.status_code)
        if found.status_code in (200, 202):
            msgspec.json.decode(found.content, type=route.answer)
        else:
            assert found.headers["content-type"] == "application/problem+json"
            msgspec.json.decode(found.content, type=ProblemBody)

    fuzz()
