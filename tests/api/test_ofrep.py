"""OFREP as its openapi.yaml has it: status codes, shapes, tags, and who may ask."""

import asyncio
import json

import pytest
import requests
from tests.flagfeed.kit import flag

from tidegate.api.admission import Admission, Asking
from tidegate.api.ofrep import BODY_BYTES_MAX, bulk
from tidegate.api.tokens import LOOK_EVERY_S, Tokens, make_token, revoke_token
from tidegate.runtime.problem import Problem

ONE, ALL = "/ofrep/v1/evaluate/flags/dark", "/ofrep/v1/evaluate/flags"
METADATA = {"metadata": {"owner": "team"}}


@pytest.fixture
async def served(place):
    await place.author.put("web/dark", flag("on", **METADATA))
    await place.author.put("web/off", flag("on", state="DISABLED"))
    await place.author.put("web/wrong", flag("on", targeting={"if": [True, "no variant"]}))
    await place.author.put("other/dark", flag("off"))
    async with place.serve():
        yield place


@pytest.mark.parametrize(
    ("key", "body", "status", "answer"),
    [
        (
            "dark",
            {"context": {"targetingKey": "u1"}},
            200,
            {"key": "dark", "reason": "STATIC", "variant": "on", "value": True, "metadata": {"owner": "team"}},
        ),
        ("dark", {}, 200, {"key": "dark", "reason": "STATIC", "variant": "on", "value": True, "metadata": {"owner": "team"}}),
        ("dark", b"", 200, {"key": "dark", "reason": "STATIC", "variant": "on", "value": True, "metadata": {"owner": "team"}}),
        # The caller's own default: no value.
        ("off", {}, 200, {"key": "off", "reason": "DISABLED", "variant": "", "metadata": {}}),
        ("none", {}, 404, {"key": "none", "errorCode": "FLAG_NOT_FOUND", "errorDetails": "flag none is not in set web"}),
        ("wrong", {}, 400, {"key": "wrong", "errorCode": "GENERAL", "errorDetails": "'no variant' is no variant of wrong"}),
        ("dark", b"{", 400, {"key": "dark", "errorCode": "PARSE_ERROR"}),
        ("dark", b"[" * 50_000, 400, {"key": "dark", "errorCode": "PARSE_ERROR"}),
        ("dark", [], 400, {"key": "dark", "errorCode": "INVALID_CONTEXT"}),
        ("dark", {"context": "u1"}, 400, {"key": "dark", "errorCode": "INVALID_CONTEXT"}),
        ("dark", {"context": None}, 400, {"key": "dark", "errorCode": "INVALID_CONTEXT"}),
    ],
)
async def test_one_flag(served, key, body, status, answer):
    found = await served.post(f"/ofrep/v1/evaluate/flags/{key}", body)
    assert (found.status_code, found.headers["content-type"]) == (status, "application/json")
    said = found.json()
    if status != 200 and "errorDetails" not in answer:
        assert said.pop("errorDetails")
    assert said == answer


async def test_all_flags_come_with_a_tag_by_which_nothing_is_sent_twice(served):
    found = await served.post(ALL, {"context": {"targetingKey": "u1"}})
    assert found.status_code == 200
    said = found.json()
    assert {one["key"]: one.get("value", one.get("errorCode")) for one in said["flags"]} == {
        "dark": True,
        "off": None,
        "wrong": "GENERAL",
    }
    assert said["eventStreams"] == [
        {"type": "sse", "endpoint": {"requestUri": "/ofrep/v1/events?set=web"}, "inactivityDelaySec": 120}
    ]
    etag = found.headers["etag"]
    for known in (etag, f'"x", W/{etag}', "*"):
        again = await served.post(ALL, {"context": {"targetingKey": "u2"}}, If_None_Match=known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    seen = served.board.changes("web")
    await served.author.put("web/dark", flag("off"))
    await served.board.changed("web", seen)
    changed = await served.post(ALL, {}, If_None_Match=etag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


@pytest.mark.parametrize("body", [b"{", [], {"context": 1}])
async def test_all_flags_for_a_body_that_is_none(served, body):
    found = await served.post(ALL, body)
    assert (found.status_code, sorted(found.json())) == (400, ["errorCode", "errorDetails"])


@pytest.mark.parametrize(
    ("selector", "status", "value"),
    [("other", 200, False), ("flagSetId=other", 200, False), ("nobodys", 404, None), ("a/b", 400, None)],
)
async def test_a_header_names_the_set(served, selector, status, value):
    found = await served.post(ONE, {}, Flagd_Selector=selector)
    assert (found.status_code, found.json().get("value")) == (status, value)


async def test_without_a_set_it_says_how_to_name_one(place):
    async with place.serve(flag_set=None):
        found = await place.post(ONE)
    assert (found.status_code, "Flagd-Selector: SET" in found.json()["errorDetails"]) == (400, True)


async def test_a_large_body_is_refused(served):
    found = await served.post(ONE, {"context": {"x": "y" * BODY_BYTES_MAX}})
    assert (found.status_code, sorted(found.json())) == (413, ["errorCode", "errorDetails"])


async def test_before_anything_was_read_no_flag_is_said_to_be_missing(place):
    place.log.reachable = False
    async with place.serve():
        assert (await place.post(ONE)).status_code == 503
        assert (await place.post(ALL)).status_code == 503
        assert place.board.not_ready()


async def test_the_age_of_the_last_known_good_is_told(place, monkeypatch):
    await place.author.put("web/dark", flag("on"))
    async with place.serve():
        fresh = await place.post(ALL)
        assert place.board.note() == ""
        monkeypatch.setattr("tidegate.flagfeed.follow.STALE_AFTER_S", -1.0)
        assert "no broker answers; flags are the last known good" in place.board.note()
        found = (await place.post(ONE)).json()
        assert found["value"] is True
        assert 0 <= found["metadata"]["tidegate.ageSeconds"] < 20
        stale = await place.post(ALL)
        assert "tidegate.ageSeconds" in stale.json()["metadata"]
        assert stale.headers["etag"] == fresh.headers["etag"]


async def test_who_shows_no_token_is_refused_and_who_shows_anothers_too(place):
    every, web = make_token(place.tokens_file, "ci"), make_token(place.tokens_file, "page", ("web",))
    assert (place.tokens_file.stat().st_mode & 0o777, every in place.tokens_file.read_text()) == (0o600, False)
    await place.author.put("web/dark", flag("on"))
    await place.author.put("other/dark", flag("on"))
    bearer = {"Authorization": f"bearer {every}"}
    async with place.serve():
        asked = {
            "none": await place.post(ONE),
            "wrong": await place.post(ONE, Authorization="Bearer tgapi_x"),
            "basic": await place.post(ONE, Authorization=f"Basic {every}"),
            "bearer": await place.post(ONE, **bearer),
            "key": await place.post(ONE, X_API_Key=web),
            "another set": await place.post(ONE, X_API_Key=web, Flagd_Selector="other"),
            "its set": await place.post(ONE, **bearer, Flagd_Selector="other"),
        }
        assert {name: found.status_code for name, found in asked.items()} == {
            "none": 401,
            "wrong": 401,
            "basic": 401,
            "bearer": 200,
            "key": 200,
            "another set": 403,
            "its set": 200,
        }
        assert asked["none"].headers["www-authenticate"] == "Bearer"


async def test_a_revoked_token_ends_and_what_was_closed_stays_so(place):
    text = make_token(place.tokens_file, "ci")
    async with place.serve():
        assert (await place.post(ONE, X_API_Key=text)).status_code == 404
        revoke_token(place.tokens_file, "ci")
        place.ahead.elapse(LOOK_EVERY_S)
        assert (await place.post(ONE, X_API_Key=text)).status_code == 401
        assert (await place.post(ONE)).status_code == 401


async def test_the_first_token_closes_what_was_open_before_anybody_shows_it(place):
    async with place.serve():
        assert (await place.post(ONE)).status_code == 404
        make_token(place.tokens_file, "ci")
        place.ahead.elapse(LOOK_EVERY_S)
        assert (await place.post(ONE)).status_code == 401


ELSEWHERE = ("evil.example", "evil.example:8016", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.7:8016", "")


@pytest.mark.parametrize("path", [ONE, ALL, "/ofrep/v1/events?set=web"])
async def test_without_token_a_page_of_another_site_reads_nothing_through_a_name_of_its_own(place, path):
    """DNS rebinding: its name leads to 127.0.0.1, and the browser sends it as Host."""
    await place.author.put("web/dark", flag("on"))
    async with place.serve():
        method = "GET" if "events" in path else "POST"

        async def status(host: str, **headers: str) -> int:
            named = {"Host": host} | headers
            asked = requests.Request(method, place.served.url + path, headers=named, data=b"{}" if method == "POST" else None)
            with requests.Session() as session:
                found = await asyncio.to_thread(session.send, asked.prepare(), stream=True, timeout=20)
                found.close()
                return found.status_code

        assert [await status(host) for host in ELSEWHERE] == [403] * len(ELSEWHERE)
        here = [await status(host) for host in ("127.0.0.1:1", "localhost", "LOCALHOST:8016", "[::1]:8016", "[::1]")]
        assert here == [200] * 5


async def test_who_shows_a_token_may_ask_under_any_name(place):
    text = make_token(place.tokens_file, "page")
    await place.author.put("web/dark", flag("on"))
    async with place.serve():
        assert (await place.post(ONE, X_API_Key=text, Host="flags.shop.example")).status_code == 200
        assert (await place.post(ONE, Host="flags.shop.example")).status_code == 401


@pytest.mark.parametrize("text", ["tokens: [{name: a}]", "tokens: 3", "- a", "a: [", "{tokens: [], more: 1}"])
async def test_a_file_of_tokens_that_is_none_names_its_path(place, text):
    place.tokens_file.write_text(text)
    with pytest.raises(Problem, match=place.tokens_file.name):
        async with place.serve():
            pass


def events_of(url: str, count: int, ready) -> list[dict]:
    """The next events of a stream; ``ready`` is called at each: it begins with one."""
    found: list[dict] = []
    with requests.get(url, stream=True, timeout=20) as stream:
        assert stream.status_code == 200, stream.text
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines(chunk_size=1):
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
                ready()
                if len(found) == count:
                    return found
    return found


async def test_a_stream_begins_with_asking_again(place):
    """What changed between the answer that names a stream and its opening would never be told."""
    async with place.serve():
        (event,) = await asyncio.to_thread(events_of, place.served.url + "/ofrep/v1/events?set=web", 1, lambda: None)
        assert event["type"] == "refetchEvaluation"


async def test_an_answer_is_a_new_one_when_the_address_of_its_stream_is(place):
    """Who was told 304 for a day would be left with an address that opens nothing."""
    admission, asking = Admission(Tokens(place.tokens_file, place.ahead), None), Asking("web", "page", "0" * 64)
    hours = [admission.ticket(asking, hour * 3_600_000) for hour in range(13)]
    assert (len(set(hours[:12])), hours[12] == hours[0]) == (1, False)
    await place.author.put("web/dark", flag("on"))
    async with place.serve():
        answers = [await bulk(place.board, asking, b"{}", "", f"/events?ticket={one}") for one in hours[11:]]
        again = [await bulk(place.board, asking, b"{}", answers[0].etag, f"/events?ticket={one}") for one in hours[11:]]
    assert [one.status for one in again] == [304, 200]


async def test_a_change_is_an_event_for_its_set_alone(place):
    text = make_token(place.tokens_file, "page", ("web",))
    await place.author.put("web/dark", flag("on"))
    async with place.serve():
        (stream,) = (await place.post(ALL, X_API_Key=text)).json()["eventStreams"]
        path = stream["endpoint"]["requestUri"]
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        heard = asyncio.create_task(
            asyncio.to_thread(events_of, place.served.url + path, 2, lambda: loop.call_soon_threadsafe(begun.set))
        )
        await begun.wait()
        await place.author.put("other/dark", flag("off"))
        await place.board.changed("other", 0)
        assert not heard.done()
        await place.author.put("web/dark", flag("off"))
        async with asyncio.timeout(20):
            _, event = await heard
        assert (event["type"], isinstance(event["lastModified"], int)) == ("refetchEvaluation", True)
        for wrong in (
            path.replace("set=web", "set=other"),
            path[:-1] + ("0" if path[-1] != "0" else "1"),
            path.partition("&")[0],
        ):
            assert (await asyncio.to_thread(requests.get, place.served.url + wrong, timeout=20)).status_code == 401


async def test_an_open_stream_does_not_keep_the_server_from_ending(place):
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with place.serve():
        url = place.served.url + "/ofrep/v1/events?set=web"
        heard = asyncio.create_task(asyncio.to_thread(events_of, url, 2, lambda: loop.call_soon_threadsafe(begun.set)))
        await begun.wait()
    async with asyncio.timeout(20):
        assert len(await heard) == 1


async def test_a_page_of_a_named_origin_may_ask(place):
    async with place.serve(origins=["https://shop.example"]):
        asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        found = await asyncio.to_thread(requests.options, place.served.url + ONE, headers=asked, timeout=20)
        assert found.headers["access-control-allow-origin"] == "https://shop.example"
        other = await asyncio.to_thread(
            requests.options, place.served.url + ONE, headers=asked | {"Origin": "https://x.example"}, timeout=20
        )
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("path", ["/", "/ofrep/v1/configuration", "/ofrep/v1/evaluate"])
async def test_what_is_not_there_says_so_in_the_same_shape(place, path):
    async with place.serve():
        found = await place.post(path)
    assert (found.status_code, sorted(found.json())) == (404, ["errorCode", "errorDetails"])
