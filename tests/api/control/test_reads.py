"""What the control API tells: as old as it says, in the shapes of its document, and nothing before it knows."""

import asyncio

import pytest
import requests
from msgspec.structs import replace
from tests.api.control.kit import installed, quiet
from tests.rollout.flags import DARK, spec

from tidegate.api.control.mirror import Mirror
from tidegate.api.roles import Role
from tidegate.broker.connection import TopicsMissing
from tidegate.wire.codec import encode
from tidegate.wire.documents import Intent, KeyRole, Verb
from tidegate.wire.envelope import Trust, seal
from tidegate.wire.flagchanges import FlagChange
from tidegate.wire.judgement import AlarmKind, AlarmState, Evidence, Kpi, Outcome, Score, Severity, Verdict
from tidegate.wire.policies import Freeze, Policy
from tidegate.wire.reasons import Reason
from tidegate.world import MemoryLog, SimClock

KIND = AlarmKind(name="burns", severity=Severity.CRITICAL, writer="judge", meaning="It burns.", remedy="Put it out.")


async def test_before_the_log_was_read_every_route_says_so(world):
    async with quiet(world) as here, here.serve(follow=False):
        found = await here.get("/rollouts")
        assert (found.status_code, found.headers["content-type"]) == (503, "application/problem+json")
        assert (found.json()["title"], found.headers["retry-after"]) == ("Service Unavailable", "1")
        assert "not been read" in found.json()["detail"]


class WithoutPanes(MemoryLog):
    """A log whose topics of KPIs and scores are missing."""

    async def reader(self, topics, **where):
        if "kpis" in topics:
            raise TopicsMissing
        return await super().reader(topics, **where)


async def test_who_can_read_no_panes_says_so_and_ends():
    clock = SimClock()
    with pytest.raises(TopicsMissing):
        async with asyncio.timeout(5):
            await Mirror(WithoutPanes(clock), clock, Trust("f", 1, {})).follow()


async def test_a_rollout_is_told_with_stages_batches_and_reasons(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            begun = await here.start("ci")
            assert (begun.status_code, begun.json()["item"]["decision"]["kind"]) == (200, "accept")
            await here.until(lambda: here.mirror.model.ledger.subject("svc/shop").gate_since_ms > 0)
            found = await here.get("/rollouts/shop", "ci")
            told, known = found.json()["item"], found.json()["known"]
            assert found.headers["etag"] == f'"{told["summary"]["generation"]}"'
            assert float(found.headers["tidegate-lag-seconds"]) >= 0
            assert (known["lag_s"] >= 0, known["offsets"]["decisions/0"] > 0) == (True, True)
            assert (told["plan"]["id"], told["summary"]["phase"], told["released"], told["roster"]) == ("p1", "running", 1, 3)
            assert [(one["standing"], one["canary"]) for one in told["stages"]] == [("current", 1), ("ahead", 3)]
            assert told["summary"]["blockers"]
            assert [one["kind"] for one in told["decisions"]][:2] == ["accept", "start"]
            assert len(told["batches"]) == 1
            listed = (await here.get("/rollouts", "ci")).json()
            assert [one["service"] for one in listed["items"]] == ["shop"]
            fleet = (await here.get("/fleet", "ci")).json()["items"]
            assert sorted(one["cohort"] for one in fleet) == ["canary", "rest", "rest"]
            assert {one["node"] for one in fleet} == {"n1", "n2", "n3"}
            page = (await here.get("/rollouts/shop/decisions?limit=2", "ci")).json()
            older = (await here.get(f"/rollouts/shop/decisions?limit=2&before={page['next']}", "ci")).json()
            seqs = [one["seq"] for one in (*page["items"], *older["items"])]
            assert seqs == sorted(seqs, reverse=True)
            assert len(set(seqs)) == len(seqs)


async def test_what_the_judge_said_is_told_the_newest_first(world):
    async with quiet(world) as here:
        for second in range(5):
            await here.log.append("kpis", "shop", kpi(second, "canary").flat())
            await here.log.append("kpis", "shop", kpi(second, "control").flat())
            await here.log.append("scores", "shop", encode(score(second)))
            await here.log.append("verdicts", "svc/shop", encode(verdict(second)))
        await here.log.append("kpis", "shop", b"no pane")
        async with here.serve():
            await here.until_recent(10)
            panes = (await here.get("/services/shop/kpis?cohort=canary&limit=2")).json()["items"]
            assert [(one["end_ms"], one["cohort"]) for one in panes] == [(5_000, "canary"), (4_000, "canary")]
            assert panes[0]["values"] == {"gauge.queue": 7.5}
            assert (await here.get("/services/shop/kpis?window_s=10")).json()["items"] == []
            assert len((await here.get("/services/shop/kpis?window_s=0")).json()["items"]) == 10
            assert (await here.get("/services/web/kpis")).json()["items"] == []
            scores = (await here.get("/services/shop/scores?metric=p95&limit=3")).json()["items"]
            assert [one["end_ms"] for one in scores] == [5_000, 4_000, 3_000]
            verdicts = (await here.get("/rollouts/shop/verdicts?limit=1")).json()["items"]
            assert [(one["last_pane_ms"], one["evidence"][0]["family"]) for one in verdicts] == [(5_000, "errors")]
            for wrong in ("limit=0", "limit=x", "limit=1001", "nothing=1"):
                found = await here.get(f"/services/shop/kpis?{wrong}")
                assert (found.status_code, found.json()["faults"][0]["path"]) == (400, f"query.{wrong.partition('=')[0]}")


async def test_a_flag_is_told_killed_and_restored(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        operator, fleet = world.home.signer(KeyRole.OPERATOR), world.home.settings.fleet
        change = FlagChange(spec=spec(immediate=True))
        wish = Intent(
            id="w1", fleet=fleet, subject=DARK, verb=Verb.SET, generation=0, actor="olga", reason="new", flag=change, issued_ms=1
        )
        await here.log.append("intents", DARK, seal(wish, operator))
        async with here.serve():
            assert await here.mirror.wait("w1", 20) is not None
            (row,) = (await here.get("/flags?set=web", "ci")).json()["items"]
            assert (row["flag"], row["set_by"]) == ("web/dark", "olga")
            one = await here.get("/flags/web/dark", "ci")
            assert (one.json()["item"]["spec"]["definition"]["defaultVariant"], one.headers["etag"]) == ("on", '"1"')
            assert (await here.get("/flags/web/none", "ci")).status_code == 404
            async with here.events("ci") as events:
                killed = await here.post("/flags/web/dark/kill", "ci", {"reason": "it burns"})
                assert (killed.status_code, killed.json()["item"]["decision"]["actor"]) == (200, "ci")
                async with asyncio.timeout(20):
                    told = await anext(events)
                assert (told.event, told.data["about"]["killed"], told.data["subjects"]) == ("flag", True, [DARK])
            assert (await here.get("/flags/web/dark", "ci")).json()["item"]["summary"]["killed"] is True
            tag = killed.headers["etag"]
            back = await here.post("/flags/web/dark/restore", "ci", {"reason": "mended"}, If_Match=tag)
            assert back.status_code == 200, back.text


async def test_alarms_and_policies_are_told(world):
    async with installed(world) as here:
        here.token("shop", Role.VIEWER, "shop")
        here.token("web", Role.VIEWER, "web")
        alarm = KIND.firing("web", 5, "it burns", service="web")
        await here.log.append("alarms", alarm.key, encode(alarm))
        over = replace(KIND.firing("shop", 1, "it burnt", service="shop"), state=AlarmState.RESOLVED, end_ms=2)
        await here.log.append("alarms", over.key, encode(over))
        operator, fleet = world.home.signer(KeyRole.OPERATOR), world.home.settings.fleet
        for name, services in (("all", ()), ("web", ("web",))):
            policy = Policy(name=name, fleet=fleet, services=services, freezes=(Freeze(),), issued_ms=1, reason="night")
            await here.log.append("plans", policy.key, seal(policy, operator))
        async with here.serve():
            await here.until(lambda: len(here.mirror.model.ledger.policies) == 2)
            assert [one["summary"] for one in (await here.get("/alarms", "web")).json()["items"]] == ["it burns"]
            assert (await here.get("/alarms", "shop")).json()["items"] == []
            found = (await here.get("/alarms?all=true", "shop")).json()["items"]
            assert [(one["summary"], one["end_ms"]) for one in found] == [("it burnt", 2)]
            for by, names in (("web", ["all", "web"]), ("shop", ["all"])):
                rows = (await here.get("/policies", by)).json()["items"]
                assert [(one["policy"]["name"], one["frozen"]) for one in rows] == [(name, True) for name in names]


async def test_the_fleet_comes_in_pages(world):
    async with installed(world) as here, here.serve():
        await here.until(lambda: len(here.mirror.model.view.reports) == 3)
        seen, after = [], ""
        while after is not None:
            page = (await here.get(f"/fleet?limit=1&after={after}")).json()
            seen += [one["node"] for one in page["items"]]
            after = page["next"]
        assert seen == ["n1", "n2", "n3"]
        assert len((await here.get("/fleet?service=shop")).json()["items"]) == 3
        assert (await here.get("/fleet?service=none")).json()["items"] == []


async def test_the_lag_grows_while_no_broker_answers(world, monkeypatch):
    monkeypatch.setattr("tidegate.api.control.mirror.CHECK_EVERY_S", 0.02)
    async with quiet(world) as here, here.serve():
        first = (await here.get("/rollouts")).json()["known"]["lag_s"]
        world.log.reachable = False
        lag_s = first
        async with asyncio.timeout(20):
            while lag_s <= max(0.5, first):
                await here.mirror.wait("nothing", 0.1)
                lag_s = (await here.get("/rollouts")).json()["known"]["lag_s"]
        world.log.reachable = True
        assert here.mirror.lag_s is not None


async def test_a_broken_log_is_said_and_flags_are_served_on(world):
    async with quiet(world) as here, here.serve():
        await here.log.append("decisions", "svc/shop", b"nonsense")
        async with asyncio.timeout(20):
            while (found := await here.get("/rollouts")).status_code == 200:
                await here.mirror.wait("nothing", 0.05)
        assert (found.status_code, "decisions is broken at offset" in found.json()["detail"]) == (503, True)
        flags = await asyncio.to_thread(requests.post, f"{here.served.url}/ofrep/v1/evaluate/flags/x", timeout=20)
        assert "decisions" not in flags.text


def kpi(second: int, cohort: str) -> Kpi:
    return Kpi(
        service="shop",
        cohort=cohort,
        subject="svc/shop",
        placement="p",
        version="v1",
        window_s=1,
        start_ms=second * 1_000,
        end_ms=(second + 1) * 1_000,
        requests=10,
        errors=0,
        nodes=1,
        nodes_expected=1,
        coverage=1.0,
        rate=10.0,
        error_ratio=0.0,
        p50_ms=1.0,
        p95_ms=2.0,
        p99_ms=3.0,
        values={"gauge.queue": 7.5},
    )


def score(second: int) -> Score:
    return Score(service="shop", cohort="canary", metric="p95", end_ms=(second + 1) * 1_000, value=2.0, score=0.5)


def verdict(second: int) -> Verdict:
    return Verdict(
        subject="svc/shop",
        service="shop",
        epoch=1,
        generation=1,
        rollout="p1.1",
        placement="p",
        stage=0,
        outcome=Outcome.HOLD,
        reason=Reason.IDLE,
        last_pane_ms=(second + 1) * 1_000,
        evidence=(Evidence(family="errors", metric="errors", log_e=0.1, threshold=7.0),),
    )
