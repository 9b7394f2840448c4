"""What the control API asks for: signed intents and plans, each answered by the decision agent, counted once."""

import asyncio
from collections import Counter
from typing import Any

from tests.api.control.kit import Installation, installed, quiet
from tests.decider.kit import STRANGER

from tidegate.api.control.mirror import says
from tidegate.api.roles import Role
from tidegate.wire.documents import Intent, KeyRole
from tidegate.wire.envelope import unseal
from tidegate.wire.plans import WhenBusy

WHY = {"reason": "a test"}
FAULTY: list[tuple[Any, str]] = [
    ({}, "body.reason"),
    ({"reason": ""}, "body.reason"),
    ({"reason": " "}, "body.reason"),
    ({"reason": 1}, "body.reason"),
    ({"reason": "x", "force": True}, "body.force"),
    ([], "body"),
]


def intents(here: Installation) -> list[Intent]:
    return [unseal(one.value, Intent, here.world.home.trust)[0] for one in here.world.log.topic("intents")]


async def at_gate(here: Installation, **fields) -> None:
    """A rollout stands at the gate of its first stage."""
    assert (await here.start("ci", **fields)).status_code == 200
    await here.until(lambda: here.mirror.model.ledger.subject("svc/shop").gate_since_ms > 0)


async def test_a_rollout_is_paused_resumed_and_aborted_by_who_the_token_names(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            await at_gate(here)
            paused = await here.post("/rollouts/shop/pause", "ci", WHY)
            decision = paused.json()["item"]["decision"]
            assert (paused.status_code, decision["kind"], decision["actor"]) == (200, "pause", "ci")
            assert paused.headers["etag"] == await here.generation(by="ci")
            resumed = await here.post("/rollouts/shop/resume", "ci", WHY, If_Match=paused.headers["etag"])
            assert (resumed.status_code, resumed.json()["item"]["decision"]["kind"]) == (200, "resume")
            looked = (await here.get(resumed.headers["location"].removeprefix("/api/v1"), "ci")).json()["item"]
            assert (looked["subject"], looked["decision"]) == ("svc/shop", resumed.json()["item"]["decision"])
            aborted = await here.post("/rollouts/shop/abort", "ci", WHY)
            assert aborted.json()["item"]["decision"]["message"].startswith("a test")
            signed = intents(here)
            assert [(str(one.verb), one.actor, one.reason) for one in signed] == [
                (verb, "ci", "a test") for verb in ("pause", "resume", "abort")
            ]
            keys = [unseal(one.value, Intent, here.world.home.trust)[1].role for one in here.world.log.topic("intents")]
            assert set(keys) == {KeyRole.API}


async def test_a_plan_that_waits_is_withdrawn_by_its_id_or_with_what_is_under_way(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            await at_gate(here)
            for name in ("p3", "p4"):
                assert (await here.start("ci", name, **here.upgrade(when_busy=WhenBusy.QUEUE))).status_code == 200
            unknown = await here.post("/rollouts/shop/abort", "ci", WHY | {"target": "p9"})
            assert (unknown.status_code, "p3, p4" in unknown.json()["detail"]) == (404, True)
            one = await here.post("/rollouts/shop/abort", "ci", WHY | {"target": "p3"})
            assert (one.status_code, one.json()["item"]["decision"]["kind"]) == (200, "setting")
            assert (await here.get("/rollouts/shop", "ci")).json()["item"]["queue"] == ["p4"]
            rest = await here.post("/rollouts/shop/abort", "ci", WHY)
            assert (rest.status_code, rest.json()["item"]["decision"]["kind"]) == (200, "rollback")
            assert (await here.get("/rollouts/shop", "ci")).json()["item"]["queue"] == []


async def test_what_somebody_saw_is_not_what_is_changed_when_it_has_changed_since(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            await at_gate(here)
            unsaid = await here.post("/rollouts/shop/promote", "ci", WHY)
            assert (unsaid.status_code, "If-Match" in unsaid.json()["remedy"]) == (428, True)
            wrong = await here.post("/rollouts/shop/promote", "ci", WHY, If_Match='"1"')
            assert (wrong.status_code, "you saw 1" in wrong.json()["detail"]) == (409, True)
            assert (await here.post("/rollouts/shop/promote", "ci", WHY, If_Match="now")).status_code == 400
            assert intents(here) == []
            seen = await here.generation(by="ci")
            assert (await here.post("/rollouts/shop/promote", "ci", WHY, If_Match=seen)).status_code == 200


async def test_the_same_key_has_the_same_answer_and_is_one_intent(world):
    async with installed(world) as here:
        for name in ("ci", "other"):
            here.token(name, Role.OPERATOR)
        async with here.serve():
            await at_gate(here)
            calls = [here.post("/rollouts/shop/pause", "ci", WHY, Idempotency_Key="k1") for _ in range(10)]
            answers = await asyncio.gather(*calls)
            assert {one.status_code for one in answers} == {200}
            assert len({one.json()["item"]["decision"]["seq"] for one in answers}) == 1
            assert len(intents(here)) == 1
            again = await here.post("/rollouts/shop/pause", "ci", WHY, Idempotency_Key="k1")
            assert again.json()["item"]["decision"] == answers[0].json()["item"]["decision"]
            reused = await here.post("/rollouts/shop/abort", "ci", WHY, Idempotency_Key="k1")
            assert (reused.status_code, len(intents(here))) == (422, 1)
            # Somebody else's key of the same text is another.
            assert (await here.post("/rollouts/shop/pause", "other", WHY, Idempotency_Key="k1")).status_code == 409
            assert (await here.post("/rollouts/shop/pause", "ci", WHY, Idempotency_Key="a b")).status_code == 400


async def test_another_process_gives_the_answer_of_the_first(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            await at_gate(here)
            first = await here.post("/rollouts/shop/pause", "ci", WHY, Idempotency_Key="k1")
        other = Installation(world, here.log)
        other.texts = here.texts
        async with other.serve():
            again = await other.post("/rollouts/shop/pause", "ci", WHY, Idempotency_Key="k1")
            assert (again.status_code, again.json()["item"]["decision"]) == (200, first.json()["item"]["decision"])
            reused = await other.post("/rollouts/shop/abort", "ci", WHY, Idempotency_Key="k1")
            assert (reused.status_code, len(intents(other))) == (422, 1)


async def test_a_refusal_is_a_problem_with_its_reason(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            found = await here.post("/rollouts/shop/pause", "ci", WHY)
            assert (found.status_code, found.headers["content-type"]) == (409, "application/problem+json")
            assert (found.json()["reason"], "no rollout" in found.json()["detail"]) == ("nothing_to_do", True)


async def test_each_fault_of_a_body_has_its_path(world):
    async with quiet(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            for body, path in FAULTY:
                found = await here.post("/rollouts/shop/pause", "ci", body)
                assert (found.status_code, [one["path"] for one in found.json()["faults"]]) == (400, [path])
            large = await here.post("/rollouts/shop/pause", "ci", {"reason": "x" * (64 << 10)})
            assert (large.status_code, large.headers["content-type"]) == (413, "application/problem+json")


async def test_without_a_decision_agent_it_says_where_to_look(world):
    async with quiet(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            here.control.asks.within_s = 0.05
            found = await here.post("/rollouts/shop/abort", "ci", WHY, Idempotency_Key="k1")
            assert (found.status_code, found.json()["item"]["decision"]) == (202, None)
            place = found.headers["location"].removeprefix("/api/v1")
            await here.until_asked(1)
            told = (await here.get(place, "ci")).json()["item"]
            assert (told["decision"], told["subject"], told["asked_ms"] is not None) == (None, "svc/shop", True)
            again = await here.post("/rollouts/shop/abort", "ci", WHY, Idempotency_Key="k1")
            assert (again.status_code, len(intents(here))) == (202, 1)


async def test_a_send_without_an_answer_may_be_sent_again(world):
    async with quiet(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            here.control.asks.within_s = 0.05
            world.log.lose_answers("intents", False)
            lost = await here.post("/rollouts/shop/abort", "ci", WHY, Idempotency_Key="k1")
            assert (lost.status_code, "same Idempotency-Key" in lost.json()["remedy"]) == (503, True)
            assert (await here.post("/rollouts/shop/abort", "ci", WHY, Idempotency_Key="k1")).status_code == 202
            assert len(intents(here)) == 1


async def test_without_a_key_of_its_own_it_asks_for_nothing(world):
    async with installed(world) as here:
        here.signer = None
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            found = await here.post("/rollouts/shop/abort", "ci", WHY)
            assert (found.status_code, "role api" in found.json()["detail"]) == (503, True)
            assert (await here.start("ci")).status_code == 200


async def test_a_plan_counts_only_with_an_operators_signature(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            forged = await here.post("/rollouts", "ci", here.signed(by=STRANGER))
            assert (forged.status_code, "needs a valid signature" in forged.json()["detail"]) == (403, True)
            for body in (b"", b"{}", b"[1", b'{"payloadType":"x","payload":"","signatures":[]}'):
                found = await here.post("/rollouts", "ci", body)
                assert (found.status_code, found.json()["detail"]) == (400, "this is no signed plan")
            assert world.log.topic("plans") == []
            plan = here.signed()
            assert (await here.post("/rollouts", "ci", plan)).status_code == 200
            assert [one.value for one in world.log.topic("plans")] == [plan]
            # The same bytes are the same plan: one record, one answer.
            assert (await here.post("/rollouts", "ci", plan)).status_code == 200
            assert len(world.log.topic("plans")) == 1


async def test_of_100_concurrent_starts_of_one_service_one_wins(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        plans = [here.signed(f"p{number}") for number in range(100)]
        async with here.serve():
            answers = await asyncio.gather(*(here.post("/rollouts", "ci", plan) for plan in plans))
            assert Counter(one.status_code for one in answers) == {200: 1, 409: 99}
            assert {one.json()["reason"] for one in answers if one.status_code == 409} == {"already_running"}


async def test_a_second_person_approves_and_the_first_does_not(world):
    async with installed(world) as here:
        here.token("olga", Role.ADMIN)
        here.token("peter", Role.APPROVER)
        async with here.serve():
            begun = await here.start("olga", second_approver=True)
            body, tag = {"target": "p1", "reason": "seen"}, begun.headers["etag"]
            own = await here.post("/rollouts/shop/approve", "olga", body, If_Match=tag)
            assert (own.status_code, own.json()["reason"]) == (403, "not_allowed")
            good = await here.post("/rollouts/shop/approve", "peter", body, If_Match=tag)
            assert (good.status_code, good.json()["item"]["decision"]["actor"]) == (200, "peter")


async def test_silences_come_and_go(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        here.token("shop", Role.OPERATOR, "shop")
        async with here.serve():
            wish = {"service": "shop", "name": "rollback", "lasts": "2h", "reason": "known"}
            assert (await here.post("/silences", "shop", wish | {"service": "web"})).status_code == 403
            assert (await here.post("/silences", "shop", wish | {"service": ""})).status_code == 403
            made = await here.post("/silences", "shop", wish)
            assert made.status_code == 200
            # What one asked for oneself is found, also where it concerns more than one's scope.
            place = made.headers["location"].removeprefix("/api/v1")
            assert (await here.get(place, "shop")).json()["item"]["decision"]["kind"] == "setting"
            (held,) = (await here.get("/silences", "ci")).json()["items"]
            assert (held["hush"]["service"], held["actor"], held["reason"]) == ("shop", "shop", "known")
            path = f"/silences/{held['id']}/end"
            tag = made.headers["etag"]
            assert (await here.post(path, "shop", WHY, If_Match=tag)).status_code == 200
            assert (await here.get("/silences", "ci")).json()["items"] == []
            assert len((await here.get("/silences?all=true", "ci")).json()["items"]) == 1
            assert (await here.post("/silences/none/end", "ci", WHY)).status_code == 404


def test_what_an_intent_asks_for_is_the_same_whenever_it_is_asked():
    intent = Intent(id="i", fleet="f", subject="svc/shop", verb="pause", generation=1, actor="a", issued_ms=5)
    later = Intent(id="i", fleet="f", subject="svc/shop", verb="pause", generation=9, actor="a", issued_ms=7)
    other = Intent(id="i", fleet="f", subject="svc/shop", verb="abort", generation=1, actor="a", issued_ms=5)
    assert says(intent) == says(later) != says(other)


async def test_nodes_are_cordoned_by_who_answers_for_the_whole_fleet(world):
    async with installed(world) as here:
        here.token("admin", Role.ADMIN)
        here.token("shop", Role.ADMIN, "shop")
        async with here.serve():
            assert (await here.post("/fleet/n1/cordon", "shop", WHY)).status_code == 403
            assert (await here.post("/fleet/n9/cordon", "admin", WHY)).status_code == 404
            assert (await here.post("/fleet/n1/cordon", "admin", WHY)).status_code == 200
            assert here.mirror.model.ledger.cordoned == ("n1",)
            (row,) = [one for one in (await here.get("/fleet", "admin")).json()["items"] if one["node"] == "n1"]
            assert row["node_state"] == "cordoned"
            assert (await here.post("/fleet/n1/uncordon", "admin", WHY)).status_code == 200
            assert here.mirror.model.ledger.cordoned == ()


async def test_a_ramp_of_a_flag_is_asked_for_like_a_rollout(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            found = await here.post("/flags/web/dark/pause", "ci", WHY)
            assert (found.status_code in (404, 409), found.json()["answers"] != "") == (True, True)
            assert [str(one.verb) for one in intents(here)] == ["pause"]
