"""What a console begins with: who asks, everything at a glance, one timeline, series for charts."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.api.control.kit import installed, quiet
from tests.api.control.test_reads import KIND, kpi

from tidegate.api.control.recent import WINDOWS_KEPT, Recent
from tidegate.api.roles import Role
from tidegate.ports import Record
from tidegate.wire.codec import encode
from tidegate.wire.judgement import AlarmState, Episode

WHY = {"reason": "a test"}


async def test_a_token_is_told_what_it_may(world):
    async with quiet(world) as here:
        here.token("ci", Role.OPERATOR, "shop:pause,abort", "flag/web/*:kill", expires_ms=1 << 42)
        here.token("all", Role.ADMIN)
        async with here.serve():
            me = (await here.get("/me", "ci")).json()["item"]
            assert (me["name"], me["role"], me["expires_ms"], me["fleet"]) == (
                "ci",
                "operator",
                1 << 42,
                world.home.settings.fleet,
            )
            assert me["rights"] == ["read", "pause", "abort", "kill"]
            for subject, rights in (
                ("svc/shop", ["read", "pause", "abort"]),
                ("flag/web/dark", ["read", "kill"]),
                ("svc/web", []),
            ):
                assert (await here.get(f"/me?subject={subject}", "ci")).json()["item"]["rights"] == rights
            assert "release" in (await here.get("/me?subject=svc/shop", "all")).json()["item"]["rights"]


async def test_without_a_token_one_is_nobody_and_reads(world):
    async with quiet(world) as here, here.serve():
        me = (await here.get("/me")).json()["item"]
        assert (me["name"], me["role"], me["rights"], me["scopes"]) == ("", "viewer", ["read"], [])


async def test_everything_at_a_glance(two_services):
    world = two_services
    async with installed(world) as here:
        here.token("ci", Role.ADMIN)
        here.token("web", Role.VIEWER, "web")
        async with here.serve():
            for service in ("shop", "web"):
                assert (await here.start("ci", f"p-{service}", service=service)).status_code == 200
            await here.until(lambda: here.mirror.model.ledger.subject("svc/shop").gate_since_ms > 0)
            await here.until(lambda: here.mirror.model.ledger.subject("svc/web").gate_since_ms > 0)
            await here.post("/fleet/n3/cordon", "ci", WHY)
            for about in ("shop", "web"):
                alarm = KIND.firing(about, 5, "it burns", service=about)
                await here.log.append("alarms", alarm.key, encode(alarm))
            await here.until(lambda: len(here.mirror.model.view.alarms) == 2)
            found = (await here.get("/overview", "ci")).json()["item"]
            assert (found["fleet"]["nodes"], found["fleet"]["states"], found["more"]) == (
                3,
                {"cordoned": 1, "reachable": 2},
                False,
            )
            groups = found["fleet"]["groups"]
            assert {(one["service"], one["cohort"], one["nodes"]) for one in groups if one["version"] == "v1"} == {
                ("shop", "canary", 1),
                ("web", "canary", 1),
            }
            assert sum(one["nodes"] for one in groups) == 6
            shop, web = found["rollouts"]
            assert (shop["service"], shop["stage"], shop["stages"], shop["version"], shop["lacks"]) == (
                "shop",
                1,
                2,
                "v1",
                ["alarm_open", "gate"],
            )
            assert (shop["gate_since_ms"] > 0, shop["released"], shop["roster"], shop["alarms"]) == (True, 1, 3, 1)
            assert [one["service"] for one in found["alarms"]] == ["shop", "web"]
            # The same for who sees a part of it.
            part = (await here.get("/overview", "web")).json()["item"]
            assert part["rollouts"] == [web]
            assert [one["service"] for one in part["alarms"]] == ["web"]
            assert part["fleet"]["groups"] == [one for one in groups if one["service"] == "web"]


async def test_one_timeline_of_releases_alarms_and_people_in_pages(two_services):
    async with installed(two_services) as here:
        here.token("ci", Role.ADMIN)
        here.token("web", Role.VIEWER, "web")
        async with here.serve():
            await here.start("ci")
            await here.until(lambda: here.mirror.model.ledger.subject("svc/shop").gate_since_ms > 0)
            await here.post("/rollouts/shop/abort", "ci", WHY)
            await here.post("/fleet/n1/cordon", "ci", WHY)
            past = (Episode(1, 2), Episode(3, 4))
            over = KIND.firing("web", 5, "it burnt", service="web", past=past, episodes=3)
            await here.log.append("alarms", over.key, encode(replace(over, state=AlarmState.RESOLVED, end_ms=6)))
            await here.until(lambda: len(here.mirror.model.view.ended) == 1)
            whole = (await here.get("/timeline", "ci")).json()["items"]
            places = [(one["at_ms"], one["id"]) for one in whole]
            assert places == sorted(places, reverse=True)
            assert [one["what"] for one in whole if one["kind"] == "rollout"][-2:] == ["start", "accept"]
            assert "release" not in {one["what"] for one in whole}
            assert [one["at_ms"] for one in whole if one.get("alarm") == KIND.name] == [6, 5, 4, 3, 2, 1]
            pages, before = [], ""
            while before is not None:
                page = (await here.get(f"/timeline?limit=3&before={before}", "ci")).json()
                assert len(page["items"]) <= 3
                pages += page["items"]
                before = page["next"]
            assert pages == whole
            people = (await here.get("/timeline?people=true", "ci")).json()["items"]
            assert {(one["actor"], one["what"]) for one in people} >= {("ci", "setting"), ("ci", "rollback")}
            assert [one["kind"] for one in (await here.get("/timeline?kinds=fleet&people=true", "ci")).json()["items"]] == [
                "fleet"
            ]
            assert {one["subject"] for one in (await here.get("/timeline?subject=svc/web", "ci")).json()["items"]} == {"svc/web"}
            assert {one["kind"] for one in (await here.get("/timeline?kinds=alarm,rollout", "web")).json()["items"]} == {"alarm"}
            for wrong in ("kinds=nothing", "before=x", "before=12"):
                found = await here.get(f"/timeline?{wrong}", "ci")
                assert (found.status_code, found.json()["faults"][0]["path"]) == (400, f"query.{wrong.partition('=')[0]}")


async def test_a_chart_has_one_column_for_each_cohort_and_value(world):
    async with quiet(world) as here:
        for second in (0, 1, 2, 2, 1):  # some come twice
            await here.log.append("kpis", "shop", kpi(second, "canary").flat())
        await here.log.append("kpis", "shop", replace(kpi(1, "control"), p95_ms=-1.0).flat())
        await here.log.append("kpis", "shop", replace(kpi(9, "control"), window_s=10).flat())
        async with here.serve():
            await here.until_recent(7)
            canary, control = (await here.get("/services/shop/series")).json()["item"]["cohorts"]
            assert (canary["cohort"], canary["end_ms"], canary["p95_ms"]) == ("canary", [1_000, 2_000, 3_000], [2.0] * 3)
            assert (control["end_ms"], control["p95_ms"], control["requests"]) == ([2_000], [None], [10])
            assert {len(column) for column in canary.values() if isinstance(column, list)} == {3}
            (longer,) = (await here.get("/services/shop/series?window_s=10")).json()["item"]["cohorts"]
            assert longer["end_ms"] == [10_000]
            (part,) = (await here.get("/services/shop/series?since_ms=2000&cohort=canary")).json()["item"]["cohorts"]
            assert part["end_ms"] == [2_000, 3_000]
            assert (await here.get("/services/web/series")).json()["item"]["cohorts"] == []
            assert (await here.get("/services/shop/series?window_s=7")).status_code == 400


@pytest.mark.parametrize("window_s", WINDOWS_KEPT)
def test_a_cohort_that_ended_before_the_time_that_is_kept_is_in_no_chart(window_s):
    """The canary of last week stood beside the rest of today as if it were measured now."""
    recent, kept = Recent(), WINDOWS_KEPT[window_s]
    for cohort, windows in {"canary": (1, 2), "control": (2, 3), "rest": (1, 3, kept + 2, kept + 3)}.items():
        for at in windows:
            one = replace(kpi(0, cohort), window_s=window_s, end_ms=at * window_s * 1_000)
            recent.see([Record("kpis", 0, 0, one.end_ms, "shop", one.flat(), {})])
    found = {one.cohort: [end_ms // 1_000 // window_s for end_ms in one.end_ms] for one in recent.series("shop", window_s)}
    assert found == {"control": [3], "rest": [3, kept + 2, kept + 3]}
    assert recent.series("web", window_s) == []


async def test_new_seconds_are_told_to_who_asks_for_them(world):
    async with quiet(world) as here:
        here.token("all", Role.VIEWER)
        here.token("web", Role.VIEWER, "web")
        async with here.serve():
            async with (
                here.events("all") as usual,
                here.events("all", kinds="kpi,alarm") as every,
                here.events("all", kinds="kpi", services="shop,none") as shop,
                here.events("web", kinds="kpi") as web,
            ):
                for second in range(3):
                    for service in ("shop", "web"):
                        await here.log.append("kpis", service, replace(kpi(second, "canary"), service=service).flat())
                await here.log.append("kpis", "shop", replace(kpi(9, "canary"), window_s=10).flat())
                await here.log.append("kpis", "shop", b"no pane")
                async with asyncio.timeout(20):
                    found = {name: [await anext(events) for _ in range(3)] for name, events in (("shop", shop), ("web", web))}
                    both = [await anext(every) for _ in range(6)]
                for name, seen in found.items():
                    assert [(one.event, one.data["about"]["service"], one.data["at_ms"]) for one in seen] == [
                        ("kpi", name, 1_000),
                        ("kpi", name, 2_000),
                        ("kpi", name, 3_000),
                    ]
                assert (found["shop"][0].data["about"]["values"], found["shop"][0].id) == ({"gauge.queue": 7.5}, "")
                assert {one.data["subjects"][0] for one in both} == {"svc/shop", "svc/web"}
                # Who does not ask for them has none, and others of the kinds that it asks for.
                alarm = KIND.firing("all", 5, "it burns")
                await here.log.append("alarms", alarm.key, encode(alarm))
                async with asyncio.timeout(20):
                    assert [(await anext(one)).event for one in (usual, every)] == ["alarm", "alarm"]
            for wrong in ("kinds=nothing", "services=a b"):
                found = await here.get(f"/events?{wrong}", "all")
                assert (found.status_code, found.json()["faults"][0]["path"]) == (400, f"query.{wrong.partition('=')[0]}")


async def test_events_of_some_services_leave_out_those_of_others_and_nothing_of_the_fleet(two_services):
    async with installed(two_services) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve(), here.events("ci", services="web", kinds="decision,alarm") as events:
            await here.start("ci", "p-shop", service="shop")
            await here.start("ci", "p-web", service="web")
            alarm = KIND.firing("all", 5, "it burns")
            await here.log.append("alarms", alarm.key, encode(alarm))
            seen = []
            async with asyncio.timeout(20):
                while not seen or seen[-1].event != "alarm":
                    seen.append(await anext(events))
            assert {tuple(one.data["subjects"]) for one in seen} == {("svc/web",), ()}


async def test_a_stream_goes_on_also_by_an_id_in_its_address(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            async with here.events("ci", kinds="decision") as events:
                await here.start("ci")
                first = [await anext(events) for _ in range(2)]
            async with here.events("ci", kinds="decision", last_event_id=first[0].id) as events:
                assert await anext(events) == first[1]


async def test_a_stream_that_may_see_nothing_of_what_happens_is_kept_alive(world, monkeypatch):
    monkeypatch.setattr("tidegate.api.control.streaming.PING_S", 0.2)
    async with quiet(world) as here:
        here.token("shop", Role.VIEWER, "shop")
        async with here.serve(), here.events("shop") as events:
            alarm = KIND.firing("web", 5, "it burns", service="web")
            ping = asyncio.ensure_future(anext(events))
            async with asyncio.timeout(20):
                while not ping.done():
                    await here.log.append("alarms", alarm.key, encode(alarm))
                    await here.mirror.wait("nothing", 0.02)
            # It says how far the stream is: an old id would be pushed out by what is not told.
            assert (ping.result().event, ping.result().data) == ("", None)
            assert ping.result().id
