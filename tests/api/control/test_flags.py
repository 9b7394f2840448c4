"""Flags over HTTP: a definition that is wanted, a share that is lowered, an end; and experiments as they are counted."""

from typing import Any

import pytest
import yaml
from tests.api.control.kit import Installation, installed
from tests.cli.test_experiment import FAST
from tests.experiments.kit import BEGIN_MS, did, saw

from tidegate.api.roles import Role
from tidegate.experiments import ExperimentState, step, sums
from tidegate.wire.codec import encode
from tidegate.wire.documents import Intent, Verb
from tidegate.wire.envelope import unseal
from tidegate.wire.experiments import trial_of

DEFINITION: dict[str, Any] = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
SPEC = {"definition": DEFINITION, "safeVariant": "off", "immediate": True}
WANTED = {"spec": SPEC, "reason": "new"}
GUARDED = {"definition": DEFINITION, "safeVariant": "off", "guard": ["shop"]}
STAGES = {"stages": [{"setWeight": 10, "bake": "1h"}, {"setWeight": 100}]}
FAULTY = [
    ({}, ["body.reason", "body.spec"]),
    ({"reason": "x", "spec": {}}, ["body.spec.definition"]),
    ({"reason": "x", "spec": SPEC | {"gard": ["shop"]}}, ["body.spec.gard"]),
    ({"reason": "x", "spec": SPEC, "ramp": {"stages": []}}, ["body.ramp.stages"]),
    ({"reason": "x", "spec": SPEC, "ramp": {"stages": [{"setWeight": 0}]}}, ["body.ramp.stages[0].setWeight"]),
]


async def wanted(here: Installation, body: Any = WANTED, saw_generation: int = 0, by: str = "ci") -> Any:
    return await here.post("/flags/web/dark/set", by, body, If_Match=f'"{saw_generation}"')


async def test_a_definition_is_set_its_share_lowered_and_it_ends(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        here.token("admin", Role.ADMIN)
        async with here.serve():
            assert (await here.post("/flags/web/dark/set", "ci", WANTED)).status_code == 428
            made = await wanted(here)
            assert (made.status_code, made.json()["item"]["decision"]["actor"]) == (200, "ci"), made.text
            one = await here.get("/flags/web/dark", "ci")
            assert (one.json()["item"]["spec"]["definition"], one.headers["etag"]) == (DEFINITION, made.headers["etag"])
            # Somebody else has set it meanwhile.
            assert (await wanted(here)).status_code == 409
            lower = {"weight": 2_500, "reason": "fewer"}
            lowered = await here.post("/flags/web/dark/share", "ci", lower, If_Match=one.headers["etag"])
            assert (lowered.status_code, lowered.json()["item"]["decision"]["kind"]) == (200, "share"), lowered.text
            flag = (await here.get("/overview", "ci")).json()["item"]["flags"][0]
            assert (flag["flag"], flag["weight"], flag["held"], flag["set_by"]) == ("web/dark", 2_500, 10_000, "ci")
            nothing = {"target": "a" * 64, "reason": "x"}
            release = await here.post("/flags/web/dark/release", "admin", nothing, If_Match=lowered.headers["etag"])
            assert (release.status_code, release.json()["reason"]) == (409, "nothing_to_do")
            tag = (await here.get("/flags/web/dark", "ci")).headers["etag"]
            assert (await here.post("/flags/web/dark/archive", "ci", {"reason": "old"}, If_Match=tag)).status_code == 403
            ended = await here.post("/flags/web/dark/archive", "admin", {"reason": "old"}, If_Match=tag)
            assert (ended.status_code, ended.json()["item"]["decision"]["kind"]) == (200, "archive")
            events = (await here.get("/timeline?kinds=flag&people=true", "ci")).json()["items"]
            assert [one["what"] for one in events if one["what"] != "refuse"][:2] == ["archive", "share"]


async def test_what_grows_comes_by_the_stages_of_its_ramp(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            at_once = await wanted(here, {"spec": GUARDED, "reason": "new"})
            assert (at_once.status_code, "ramp" in at_once.json()["detail"]) == (422, True)
            made = await wanted(here, {"spec": GUARDED, "ramp": STAGES, "reason": "new"}, 0)
            assert made.status_code == 200, made.text
            item = (await here.get("/flags/web/dark", "ci")).json()["item"]
            assert [one["setWeight"] for one in item["ramp"]["stages"]] == [10, 100]
            assert item["summary"]["set_why"] == "new"


async def test_a_definition_is_signed_byte_for_byte(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            definition = b'{ "variants": {"on":  1.50, "off": 0e0}, "state":"ENABLED",\n "defaultVariant" : "on" }'
            body = b'{"reason": "new", "spec": {"safeVariant": "off", "immediate": true, "definition": ' + definition + b"}}"
            assert (await wanted(here, body)).status_code == 200
            (record,) = world.log.topic("intents")
            intent, _ = unseal(record.value, Intent, world.home.trust)
            assert intent.flag is not None
            assert intent.flag.spec is not None
            assert (intent.verb, bytes(intent.flag.spec.definition)) == (Verb.SET, definition)


@pytest.mark.parametrize(("body", "paths"), FAULTY)
async def test_each_fault_of_a_definition_has_its_path(world: Any, body: Any, paths: list[str]) -> None:
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        async with here.serve():
            found = await wanted(here, body)
            assert (found.status_code, sorted(one["path"] for one in found.json()["faults"])) == (400, paths)
            assert world.log.topic("intents") == []


async def test_a_scope_of_flags_allows_what_it_names(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        here.token("some", Role.OPERATOR, "flag/web/*:share")
        async with here.serve():
            tag = (await wanted(here)).headers["etag"]
            assert (await wanted(here, by="some")).status_code == 403
            lower = {"weight": 1, "reason": "fewer"}
            assert (await here.post("/flags/app/dark/share", "some", lower, If_Match=tag)).status_code == 404
            assert (await here.post("/flags/web/dark/share", "some", lower, If_Match=tag)).status_code == 200


async def test_an_experiment_is_told_with_its_numbers_and_how_they_came_about(world):
    async with installed(world) as here:
        here.token("ci", Role.OPERATOR)
        here.token("none", Role.VIEWER, "shop")
        async with here.serve():
            assert (await here.get("/experiments", "ci")).json()["items"] == []
            body = yaml.safe_load(FAST) | {"reason": "is it faster?"}
            made = await here.post("/flags/web/fast/set", "ci", body, If_Match='"0"')
            assert made.status_code == 200, made.text
            await count(here, 4_000)
            await here.until_counted("checkout")
            (row,) = (await here.get("/experiments", "ci")).json()["items"]
            assert (row["experiment"], row["flag"], row["state"], row["users"]) == ("checkout", "web/fast", "runs", 4_000)
            one = (await here.get("/experiments/checkout", "ci")).json()["item"]
            assert one["status"] == row
            last = one["looks"]["on"][-1]
            bought = next(metric for metric in row["metrics"] if metric["metric"] == "bought")
            assert (last["difference"], last["low"], last["high"]) == (bought["difference"], bought["low"], bought["high"])
            assert last["low"] < last["difference"] < last["high"]
            assert (await here.get("/experiments/none", "ci")).status_code == 404
            assert (await here.get("/experiments", "none")).json()["items"] == []
            assert (await here.get("/experiments/checkout", "none")).status_code == 404


async def count(here: Installation, users: int) -> None:
    """What one partition counted of so many users stands on the topic; of those who have ``on`` every fifth buys, else every
    tenth.
    """
    spec = here.mirror.model.ledger.flags["flag/web/fast"].spec
    assert spec.experiment is not None
    trial = trial_of(spec.experiment, spec.decoded(), "flag/web/fast")
    state = ExperimentState(0)
    for at in range(users):
        variant, append_ms = ("off", "on")[at % 2], BEGIN_MS + at * 2_000
        step(state, saw(at, variant, trial=trial, generation=9), append_ms)
        if at // 2 % {"off": 10, "on": 5}[variant] == 0:
            step(state, did(at, "bought"), append_ms)
    record = sums(state, "checkout", 1)
    await here.log.append("experiments", record.key, encode(record))
