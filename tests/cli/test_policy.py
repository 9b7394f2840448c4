"""``tidegate policy`` and ``tidegate rollout approve`` against the real decision agent on a log in memory."""

import pytest
from tests.cli.kit import World

from tidegate.cli.session import Exit

FIRST = "service: shop\nartifact: {version: v1, path: v1.py}\nstages: [{setWeight: 100, bake: 0s}]\nwatch: 0s\nid: first\n"


@pytest.fixture
def plan(world: World) -> str:
    world.artifact("v1.py")
    return world.plan(FIRST)


def test_a_freeze_is_signed_decided_listed_and_holds_a_plan_until_it_is_lifted(world: World, plan: str) -> None:
    asked = world.type("policy", "freeze", "incident-7", "--service", "shop", "--reason", "disks are full")
    assert (asked.code, asked.err) == (0, "")
    assert "frozen until it is lifted. disks are full" in asked.out
    queued = world.type("rollout", "start", plan)
    assert queued.code == 0
    assert "waits: The freeze incident-7 holds" in queued.out
    assert "1 plan waiting: The freeze incident-7 holds" in world.type("rollout", "status", "shop").out
    (row,) = world.type("policy", "list", "-o", "json").json
    assert (row["policy"]["name"], row["frozen"]) == ("incident-7", True)
    assert "disks are full" in world.type("policy", "list").out
    lifted = world.type("policy", "lift", "incident-7", "--reason", "disks are empty")
    assert lifted.code == 0
    assert world.type("policy", "list", "-o", "json").json == []
    assert "waiting" not in world.type("rollout", "status", "shop").out


def test_lifting_what_does_not_hold_is_a_refusal(world: World) -> None:
    refused = world.type("policy", "lift", "nothing", "--reason", "none")
    assert refused.code == Exit.FAILED
    assert "no policy nothing is in force" in refused.out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--for", "soon"), "not a duration"),
        (("--until", "2026-12-24 18:00"), "names no zone"),
        (("--for", "1h", "--until", "2026-12-24T18:00:00+01:00"), "--for counts from now on"),
        (("--from", "2026-12-24T18:00:00+01:00", "--until", "2026-12-23T18:00:00+01:00"), "later than fromMs"),
        (("--until", "2026-01-01T00:00:00+00:00"), "it has ended already"),
        (("--recurring", "friday", "mon 08:00", "+00:00"), "start"),
        (("--recurring", "fri 16:00", "08:00", "+00:00"), "both name a day"),
    ],
)
def test_a_freeze_that_cannot_be_meant_is_told_before_it_is_signed(world: World, options: tuple[str, ...], told: str) -> None:
    result = world.type("policy", "freeze", "calm", "--reason", "x", *options)
    assert result.code == Exit.USAGE
    assert told in result.err


def test_a_policy_file_says_everything_and_may_be_set_again(world: World) -> None:
    path = world.plan(
        "name: production\nservices: [shop]\ndwell: 10m\nsecondApprover: true\nrollbackBudget: {rollbacks: 3, within: 1h}\n"
        "freezes:\n  - {from: 2026-12-24T18:00:00+01:00, until: 2027-01-02T08:00:00+01:00}\n"
        "  - {recurring: {start: fri 16:00, end: mon 08:00, utcOffset: '+01:00'}}\n",
        "policy.yaml",
    )
    for _ in range(2):
        assert world.type("policy", "set", path, "--reason", "audit").code == 0
    (row,) = world.type("policy", "list", "-o", "json").json
    assert row["policy"]["freezes"][0] == {"fromMs": 1_798_131_600_000, "untilMs": 1_798_873_200_000}
    assert row["policy"]["reason"] == "audit"
    listed = world.type("policy", "list").out
    for said in ("fri 16:00 to mon 08:00 (UTC+01:00) every week", "3 rollbacks within 1h", "10m between", "second approver"):
        assert said in listed


def test_every_fault_of_a_policy_file_is_named(world: World) -> None:
    path = world.plan("freezes: [{from: 2026-12-24}]\ndwel: 1m\nrollbackBudget: {rollbacks: none}\n", "policy.yaml")
    result = world.type("policy", "set", path)
    assert result.code == Exit.USAGE
    for at in ("freezes[0].from", "dwel", "rollbackBudget.rollbacks", "name"):
        assert f"{at}: " in result.err


def test_a_file_that_says_nothing_ends_nothing(world: World) -> None:
    result = world.type("policy", "set", world.plan("name: production\n", "policy.yaml"))
    assert result.code == Exit.USAGE
    assert "tidegate policy lift production" in result.err


def test_who_signed_a_plan_cannot_approve_of_it(world: World, plan: str) -> None:
    world.type("policy", "set", world.plan("name: eyes\nsecondApprover: true\n", "policy.yaml"))
    assert "rollout approve shop first" in world.type("rollout", "start", plan).out
    refused = world.type("rollout", "approve", "shop", "first")
    assert refused.code == Exit.FAILED
    assert "somebody else has to approve" in refused.out
