"""Who may do what: every route with every role, as the code has them; what is not named is denied, what is refused is told."""

import time

from tests.api.control.kit import BASE, Installation, installed, quiet

from tidegate.api.control.calls import Route
from tidegate.api.roles import RIGHTS, Right, Role
from tidegate.api.tokens import LOOK_EVERY_S, revoke_token
from tidegate.wire.names import service_subject

CHANGES = {
    "start",
    "pause",
    "resume",
    "promote",
    "abort",
    "undo",
    "retry",
    "kill",
    "restore",
    "silence",
    "set",
    "share",
    "policy",
}
MAY = {
    Role.VIEWER: {"read"},
    Role.OPERATOR: {"read", *CHANGES},
    Role.APPROVER: {"read", "approve"},
    Role.ADMIN: {"read", *CHANGES, "approve", "release", "cordon", "uncordon", "archive", "audit", "alert"},
    Role.ALERTS: {"alert"},
}
"""As docs/api.md has it."""


def filled(route: Route) -> str:
    return route.path.format(service="shop", set="web", flag="dark", id="x", node="n1", experiment="x", group="g1")


def refused(here: Installation) -> float:
    return sum(
        sample.value
        for metric in here.registry.collect()
        for sample in metric.samples
        if sample.name == "tidegate_api_control_refused_total"
    )


async def ask(here: Installation, route: Route, by: str) -> tuple[int, bool]:
    """Return the status, and whether it was refused."""
    before = refused(here)
    if route.answer is None:
        async with here.opened(by) as status:
            return status, refused(here) > before
    found = await here.ask(route.method, filled(route), by, {} if route.method == "POST" else None)
    return found.status_code, refused(here) > before


def test_roles_have_the_rights_that_are_documented():
    assert {role: set(map(str, rights)) for role, rights in RIGHTS.items()} == MAY


async def test_every_route_with_every_role(world):
    async with quiet(world) as here:
        here.signer = None  # what is admitted ends before anything is signed
        for role in Role:
            here.token(role.value, role)
        here.token("flags", None)
        here.token("late", Role.ADMIN, expires_ms=int(time.time() * 1_000) - 1)
        async with here.serve():
            seen = 0
            for route in here.control.routes:
                for role in Role:
                    status, denied = await ask(here, route, role.value)
                    assert denied is (str(route.right) not in MAY[role]), (route.name, role)
                    assert (status == 403) is denied, (route.name, role)
                    seen += 1
                for by, expected in (("", 401), ("tgapi_nobody", 401), ("late", 401), ("flags", 403)):
                    assert await ask(here, route, by) == (expected, True), (route.name, by)
            assert seen == len(here.control.routes) * len(Role) >= 100


async def test_nothing_is_served_that_has_no_row_in_the_table(world):
    async with quiet(world) as here, here.serve():
        for method, path in (("GET", "/nothing"), ("DELETE", "/rollouts"), ("PUT", "/rollouts/shop"), ("POST", "/rollouts/shop")):
            found = await here.ask(method, path)
            assert (found.status_code, found.headers["content-type"]) in (
                (404, "application/problem+json"),
                (405, "application/problem+json"),
            )
        served = {str(handler.paths) for handler in here.control.handlers(here.tokens)}
        assert served == {str({BASE + route.path.replace("}", ":str}")}) for route in here.control.routes}


async def test_without_any_token_this_machine_reads_and_asks_for_nothing(world):
    async with quiet(world) as here, here.serve():
        for route in here.control.routes:
            status, denied = await ask(here, route, "")
            assert (denied, status == 401) == (route.right is not Right.READ,) * 2, route.name
        # A page whose own name was made to lead here.
        assert (await here.get("/rollouts", Host="evil.example:80")).status_code == 403
        assert (await here.get("/rollouts", Host="localhost:1")).status_code == 200
        # A token that is wrong is not the same as none.
        assert (await here.get("/rollouts", "tgapi_wrong")).status_code == 401


async def test_a_scope_hides_what_it_leaves_out(two_services):
    async with installed(two_services) as here:
        here.token("ci", Role.OPERATOR)
        here.token("shop", Role.OPERATOR, "shop:pause")
        here.token("web", Role.OPERATOR, "w*")
        async with here.serve():
            for service in ("shop", "web"):
                assert (await here.start("ci", f"p-{service}", service=service)).status_code == 200
            for mine, others in (("shop", "web"), ("web", "shop")):
                listed = (await here.get("/rollouts", mine)).json()["items"]
                assert [one["service"] for one in listed] == [mine]
                assert (await here.get(f"/rollouts/{mine}", mine)).status_code == 200
                for path in ("", "/decisions", "/verdicts"):
                    assert (await here.get(f"/rollouts/{others}{path}", mine)).status_code == 404
                assert (await here.post(f"/rollouts/{others}/pause", mine, {"reason": "x"})).status_code == 404
                before = refused(here)
                assert (await here.start(mine, "p2", service=others)).status_code == 403
                assert refused(here) == before + 1
            assert {one["service"] for one in (await here.get("/fleet", "shop")).json()["items"]} == {"shop"}
            assert {one["service"] for one in (await here.get("/fleet", "web")).json()["items"]} == {"web"}
            abort = await here.post("/rollouts/shop/abort", "shop", {"reason": "x"})
            assert (abort.status_code, abort.json()["detail"]) == (403, "token shop (operator) may not abort of svc/shop")
            assert (await here.start("shop", "p3")).status_code == 403
            assert (await here.post("/rollouts/shop/pause", "shop", {"reason": "x"})).status_code in (200, 409)
            for decision in (await here.get("/rollouts/shop/decisions", "shop")).json()["items"]:
                assert decision["subject"] == service_subject("shop")
                asked = (await here.get(f"/requests/{decision['answers'] or 'none'}", "web")).status_code
                assert asked == 404


async def test_a_token_that_is_revoked_opens_nothing_more(world):
    async with quiet(world) as here:
        here.token("ci", Role.VIEWER)
        here.token("other", Role.VIEWER)
        async with here.serve():
            assert (await here.get("/rollouts", "ci")).status_code == 200
            revoke_token(here.tokens_file, "ci")
            here.ahead.elapse(LOOK_EVERY_S)
            assert (await here.get("/rollouts", "ci")).status_code == 401


async def test_the_first_token_closes_what_was_open_before_anybody_shows_it(world):
    async with quiet(world) as here, here.serve():
        assert (await here.fetch("GET", "/api/v1/rollouts", {})).status_code == 200
        here.token("ci", Role.VIEWER)
        here.ahead.elapse(LOOK_EVERY_S)
        assert (await here.fetch("GET", "/api/v1/rollouts", {})).status_code == 401


async def test_who_was_refused_is_seen_by_who_answers_for_tokens(world):
    async with quiet(world) as here:
        here.token("ci", Role.VIEWER)
        here.token("admin", Role.ADMIN)
        here.token("shop", Role.ADMIN, "shop")
        async with here.serve():
            for _ in range(3):
                await here.post("/rollouts/shop/abort", "ci", {"reason": "x"})
            await here.get("/rollouts", "tgapi_wrong")
            assert (await here.get("/refused", "shop")).status_code == 403
            rows = (await here.get("/refused", "admin")).json()["items"]
            assert [(one["by"], one["route"], one["status"], one["times"]) for one in rows] == [
                ("shop", "get_refused", 403, 1),
                ("", "get_rollouts", 401, 1),
                ("ci", "post_rollouts_service_abort", 403, 3),
            ]
            assert (rows[2]["of"], rows[2]["peer"], "may not abort" in rows[2]["why"]) == ({"service": "shop"}, "127.0.0.1", True)
            assert rows[2]["first_ms"] <= rows[2]["last_ms"]


async def test_who_asks_for_too_much_waits(world, monkeypatch):
    monkeypatch.setattr("tidegate.api.control.guard.WRITES_BURST", 2)
    monkeypatch.setattr("tidegate.api.control.guard.WRITES_PER_S", 0.001)
    async with quiet(world) as here:
        here.token("ci", Role.OPERATOR)
        here.token("other", Role.OPERATOR)
        async with here.serve():
            statuses = [(await here.post("/rollouts", "ci", b"")).status_code for _ in range(3)]
            assert statuses == [400, 400, 429]
            assert (await here.post("/rollouts", "other", b"")).status_code == 400
            assert (await here.get("/rollouts", "ci")).status_code == 200
