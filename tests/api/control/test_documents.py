"""Documents that an operator signed are handed on byte for byte: policies, and groups of plans."""

from typing import Any

from tests.api.control.kit import Installation, installed

from tidegate.api.roles import Role
from tidegate.wire.documents import KeyRole
from tidegate.wire.envelope import Signs, seal
from tidegate.wire.groups import Group, Wave
from tidegate.wire.policies import Freeze, Policy

WHY = {"reason": "a test"}


def policy(here: Installation, *services: str, by: Signs | None = None, issued_ms: int = 1, **fields: Any) -> bytes:
    """A freeze, as an operator signs it."""
    known = {"name": "night", "fleet": here.world.home.settings.fleet, "freezes": (Freeze(),), "actor": "olga", "reason": "night"}
    document = Policy(**(known | fields), services=services, issued_ms=issued_ms)
    return seal(document, by or here.world.home.signer(KeyRole.OPERATOR))


async def test_a_policy_is_put_in_force_and_ended(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            signed = policy(here)
            made = await here.post("/policies", "ci", signed)
            assert (made.status_code, made.json()["item"]["decision"]["actor"]) == (200, "olga"), made.text
            assert [(one.key, one.value) for one in world.log.topic("plans")] == [("policy/night", signed)]
            (row,) = (await here.get("/policies", "ci")).json()["items"]
            assert (row["policy"]["name"], row["frozen"]) == ("night", True)
            # An old one cannot be played again, and the same bytes are the same policy.
            assert (await here.post("/policies", "ci", policy(here, issued_ms=0))).status_code == 409
            assert (await here.post("/policies", "ci", signed)).json()["item"]["decision"] == made.json()["item"]["decision"]
            assert (await here.post("/policies", "ci", policy(here, issued_ms=9, freezes=()))).status_code == 200
            assert (await here.get("/policies", "ci")).json()["items"] == []


async def test_a_policy_counts_only_with_an_operators_signature(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            found = await here.post("/policies", "ci", policy(here, by=world.home.signer(KeyRole.API)))
            assert (found.status_code, "needs a valid signature" in found.json()["detail"]) == (403, True)
            found = await here.post("/policies", "ci", here.signed())  # a plan
            assert (found.status_code, found.json()["detail"]) == (400, "this is no signed policy")
            assert world.log.topic("plans") == []


async def test_a_scope_hands_on_policies_of_its_services(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        here.token("shop", Role.OPERATOR, "shop")
        async with here.serve():
            for services, status in (((), 403), (("web",), 403), (("shop", "web"), 403), (("shop",), 200)):
                assert (await here.post("/policies", "shop", policy(here, *services))).status_code == status, services
            # Nor does it take the place of one that is of others.
            assert (await here.post("/policies", "ci", policy(here, "web", issued_ms=2))).status_code == 200
            assert (await here.post("/policies", "shop", policy(here, "shop", issued_ms=3))).status_code == 403


async def test_a_group_is_started_told_and_aborted(two_services):
    async with installed(two_services) as here:
        here.token("ci", Role.OPERATOR)
        here.token("shop", Role.OPERATOR, "shop")
        operator, fleet = here.world.home.signer(KeyRole.OPERATOR), here.world.home.settings.fleet
        waves = [Wave(plans=(here.signed(f"p-{one}", service=one).decode(),)) for one in ("shop", "web")]
        group = Group(name="g1", fleet=fleet, waves=tuple(waves), issued_ms=1, actor="olga")
        async with here.serve():
            signed = seal(group, operator)
            assert (await here.post("/groups", "shop", signed)).status_code == 403
            made = await here.post("/groups", "ci", signed)
            assert (made.status_code, made.json()["item"]["decision"]["subject"]) == (200, "group/g1"), made.text
            (row,) = (await here.get("/groups", "ci")).json()["items"]
            assert [member["subject"] for wave in row["waves"] for member in wave["members"]] == ["svc/shop", "svc/web"]
            assert (await here.get("/groups/g1", "ci")).json()["item"]["phase"] == "running"
            assert (await here.get("/groups/none", "ci")).status_code == 404
            paused = await here.post("/groups/g1/pause", "ci", WHY)
            assert (paused.status_code, paused.json()["item"]["decision"]["kind"]) == (200, "pause"), paused.text
            assert (await here.post("/groups/g1/resume", "ci", WHY)).status_code == 428
            aborted = await here.post("/groups/g1/abort", "ci", WHY)
            assert aborted.status_code == 200, aborted.text
            assert (await here.post("/groups/g1/abort", "shop", WHY)).status_code == 404
            told = (await here.get("/timeline?subject=group/g1", "ci")).json()["items"]
            assert {one["kind"] for one in told} == {"rollout"}
