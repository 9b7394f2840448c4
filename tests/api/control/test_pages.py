"""The console's files: for everybody, with strict headers, asked for anew each time and sent only when they have changed."""

from typing import Any

import pytest
from tests.api.control.kit import quiet

from tidegate.api.pages import HEADERS
from tidegate.api.roles import Role
from tidegate.console import files


async def test_every_file_is_served_to_everybody_with_strict_headers(world):
    async with quiet(world) as here:
        here.token("ci", Role.VIEWER)  # and none is shown
        async with here.serve(pages=files()):
            for path, file in files().items():
                found = await here.fetch("GET", f"/{path}", {})
                assert (found.status_code, found.content, found.headers["content-type"]) == (200, file.body, file.media_type)
                assert {name: found.headers[name] for name in HEADERS} == HEADERS
            page = await here.fetch("GET", "/", {})
            assert page.content == files()["index.html"].body
            policy = page.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; ")
            assert "unsafe" not in policy


async def test_a_file_is_sent_again_only_when_it_is_another(world):
    async with quiet(world) as here, here.serve(pages=files()):
        page = await here.fetch("GET", "/", {})
        tag = page.headers["etag"]
        for known, status in ((tag, 304), (f"W/{tag}", 304), (f'"x", {tag}', 304), ("*", 304), ('"x"', 200)):
            found = await here.fetch("GET", "/", {"If-None-Match": known})
            assert (found.status_code, found.headers["etag"]) == (status, tag)
            assert found.content == (page.content if status == 200 else b"")


@pytest.mark.parametrize(("accepted", "encoding"), [("identity", None), ("gzip", "gzip"), ("br, gzip;q=0", None)])
async def test_a_file_is_packed_for_who_unpacks_it_and_each_form_has_a_name_of_its_own(world, accepted, encoding):
    async with quiet(world) as here, here.serve(pages=files()):
        path, whole = "/index.html", files()["index.html"]
        found = await here.fetch("GET", path, {"Accept-Encoding": accepted})
        assert (found.content, found.headers.get("content-encoding")) == (whole.body, encoding)
        assert found.headers["vary"] == "Accept-Encoding"
        assert ("gzip" in found.headers["etag"]) is bool(encoding)
        headed = await here.fetch("HEAD", path, {"Accept-Encoding": accepted})
        assert (headed.status_code, headed.content, headed.headers["etag"]) == (200, b"", found.headers["etag"])
        assert (int(headed.headers["content-length"]) < len(whole.body)) is bool(encoding)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/", 405),
        ("DELETE", "/index.html", 405),
        ("GET", "/nothing.js", 404),
        ("GET", "/app/", 404),
        ("GET", "/../pyproject.toml", 404),
        ("GET", "/%2e%2e/__init__.py", 404),
        ("GET", "/app/..%2f..%2f__init__.py", 404),
    ],
)
async def test_nothing_else_is_served_there(world: Any, method: str, path: str, status: int) -> None:
    async with quiet(world) as here, here.serve(pages=files()):
        assert (await here.fetch(method, path, {})).status_code == status


async def test_a_page_of_an_origin_that_is_named_resumes_streams_and_reads_what_it_needs(world):
    ours, theirs = "https://console.example", "https://evil.example"
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, if-match, last-event-id"}
    async with quiet(world) as here:
        here.token("ci", Role.VIEWER)
        async with here.serve(origins=[ours]):
            flight = await here.fetch("OPTIONS", "/api/v1/rollouts/shop/pause", {"Origin": ours} | asked)
            assert (flight.status_code, flight.headers["access-control-allow-origin"]) == (204, ours)
            allowed = flight.headers["access-control-allow-headers"].lower()
            assert {"authorization", "if-match", "idempotency-key", "last-event-id"} <= {
                one.strip() for one in allowed.split(",")
            }
            found = await here.get("/rollouts", "ci", Origin=ours)
            exposed = found.headers["access-control-expose-headers"].lower()
            assert {"etag", "location", "retry-after", "tidegate-lag-seconds"} <= {one.strip() for one in exposed.split(",")}
            assert found.headers["x-content-type-options"] == "nosniff"
            other = await here.get("/rollouts", "ci", Origin=theirs)
            assert "access-control-allow-origin" not in other.headers
