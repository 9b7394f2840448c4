"""The rollout commands against the real agents on a log in memory."""

import pytest
import yaml
from tests.cli.kit import World

from tidegate.cli import rollout_ask, rollout_start
from tidegate.cli.rollout_start import ended
from tidegate.cli.session import Exit
from tidegate.wire.decisions import Result, SubjectState
from tidegate.wire.documents import Phase
from tidegate.wire.envelope import unseal
from tidegate.wire.plans import Plan
from tidegate.wire.reasons import Reason

FIRST = """
service: shop
artifact: {version: v1, path: shop-v1.tar}
stages: [{setWeight: 100, bake: 0s, minRequests: 0}]
maxUnavailable: 100%
watch: 0s
"""
SECOND = """
service: shop
artifact: {version: v2, path: shop-v2.tar}
stages: [{setNodes: 1, bake: 1h}, {setWeight: 100}]
"""


@pytest.fixture
def installed(world: World) -> World:
    """Version v1 runs everywhere."""
    world.artifact("shop-v1.tar")
    world.artifact("shop-v2.tar")
    done = world.type("rollout", "start", world.plan(FIRST), "--wait", "--timeout", "20s")
    assert (done.code, done.err) == (0, "")
    assert "complete" in done.out
    return world


def plans(world: World) -> list[Plan]:
    return [unseal(record.value or b"", Plan, world.home.trust)[0] for record in world.log.topic("plans")]


def test_a_first_plan_needs_no_digest_no_size_and_no_target(installed: World) -> None:
    (plan,) = plans(installed)
    assert plan.rollback is None
    assert plan.artifact.size_bytes == len("program shop-v1.tar\n")
    assert plan.artifact.uri == str(installed.folder / "shop-v1.tar")
    assert plan.fleet == "local"
    assert plan.expires_ms - plan.issued_ms == 24 * 3_600_000


def test_the_way_back_is_what_is_settled(installed: World) -> None:
    assert installed.type("rollout", "start", installed.plan(SECOND)).code == 0
    first, second = plans(installed)
    assert second.rollback is not None
    assert second.rollback.artifact == first.artifact


def test_the_way_back_is_what_is_still_being_watched(world: World) -> None:
    world.artifact("shop-v1.tar")
    world.artifact("shop-v2.tar")
    first = world.type("rollout", "start", world.plan(FIRST.replace("watch: 0s", "watch: 1h")), "--wait", "--timeout", "3s")
    assert first.code == Exit.TIMEOUT
    assert "watching" in world.type("rollout", "status").out
    started = world.type("rollout", "start", world.plan(SECOND))
    assert (started.code, started.err) == (0, "")
    assert "rolls out v2" in started.out


def test_the_way_back_of_a_plan_that_waits_is_what_runs_before_it(installed: World) -> None:
    installed.artifact("shop-v3.tar")
    assert installed.type("rollout", "start", installed.plan(SECOND)).code == 0
    queued = installed.type("rollout", "start", installed.plan(SECOND.replace("v2", "v3")))
    assert queued.code == 0, queued.out
    _, second, third = plans(installed)
    assert third.rollback is not None
    assert third.rollback.artifact == second.artifact


def test_a_share_of_the_way_back_is_kept_though_its_target_is_left_out(installed: World) -> None:
    plan = installed.plan(SECOND + "rollback: {maxUnavailable: 1}\n")
    assert installed.type("rollout", "start", plan).code == 0
    target = plans(installed)[-1].rollback
    assert target is not None
    assert (target.artifact.version, target.max_unavailable) == ("v1", "1")


def test_the_version_that_runs_is_not_rolled_out_again(installed: World) -> None:
    again = installed.type("rollout", "start", installed.plan(FIRST))
    assert again.code == Exit.USAGE
    assert "artifact.version: v1 is what runs now" in again.err
    assert len(plans(installed)) == 1


def test_a_rollout_is_steered_looked_at_and_explained(installed: World) -> None:
    assert installed.type("rollout", "start", installed.plan(SECOND)).code == 0
    assert installed.type("rollout", "pause", "shop", "--reason", "lunch").code == 0
    status = installed.type("rollout", "status", "shop", "-o", "json").json[0]
    assert (status["phase"], status["paused_reason"], status["version"], status["settled"]) == ("paused", "asked", "v2", "v1")
    assert {cohort["name"] for cohort in status["cohorts"]} >= {"canary", "rest"}
    assert status["blockers"]
    assert installed.type("rollout", "resume", "shop").code == 0
    aborted = installed.type("rollout", "abort", "shop", "-o", "yaml")
    assert aborted.code == 0
    assert yaml.safe_load(aborted.out)["kind"] == "rollback"
    told = installed.type("rollout", "explain", "shop").out
    for word in ("accept", "pause", "lunch", "resume", "rollback", "generation", "asked"):
        assert word in told
    rows = installed.type("rollout", "explain", "shop", "--output", "json").json["decisions"]
    assert [row["kind"] for row in rows][:2] == ["accept", "start"]
    assert installed.type("rollout", "release", "shop", "v2").code == 0


def test_a_plan_that_waits_is_withdrawn_by_its_id_and_the_rollout_before_it_goes_on(installed: World) -> None:
    installed.artifact("shop-v3.tar")
    assert installed.type("rollout", "start", installed.plan(SECOND)).code == 0
    assert installed.type("rollout", "start", installed.plan(SECOND.replace("v2", "v3"))).code == 0
    waiting = plans(installed)[-1]
    unknown = installed.type("rollout", "abort", "shop", "--plan", "nobody")
    assert (unknown.code, waiting.id in unknown.out) == (Exit.FAILED, True)
    withdrawn = installed.type("rollout", "abort", "shop", "--plan", waiting.id, "--reason", "not today", "-o", "yaml")
    assert withdrawn.code == 0
    decision = yaml.safe_load(withdrawn.out)
    assert (decision["kind"], decision["facts"]["withdrawn"]) == ("setting", [waiting.id])
    assert installed.type("rollout", "status", "shop", "-o", "json").json[0]["phase"] == "running"


def test_an_abort_withdraws_what_waits_with_what_is_under_way(installed: World) -> None:
    installed.artifact("shop-v3.tar")
    assert installed.type("rollout", "start", installed.plan(SECOND)).code == 0
    assert installed.type("rollout", "start", installed.plan(SECOND.replace("v2", "v3"))).code == 0
    told = installed.type("rollout", "abort", "shop", "--reason", "fire")
    assert (told.code, f"fire; withdrawn with it: {plans(installed)[-1].id}" in told.out) == (0, True)


def test_a_group_goes_back_as_one(installed: World) -> None:
    refused = installed.type("rollout", "abort", "group/all", "--plan", "p")
    assert (refused.code, "goes back as one" in refused.err) == (Exit.USAGE, True)


def test_what_cannot_be_done_is_refused_with_the_record_and_exit_code_1(installed: World) -> None:
    refused = installed.type("rollout", "resume", "shop")
    assert refused.code == Exit.FAILED
    assert "refuse" in refused.out


def test_without_a_decision_agent_a_command_says_so_and_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_ask, "ANSWER_WITHIN_S", 0.3)
    world.deciding = False
    lonely = world.type("rollout", "pause", "shop")
    assert lonely.code == Exit.TIMEOUT
    assert "no answer from the decision agent" in lonely.err
    assert "tidegate decide" in lonely.err


@pytest.mark.parametrize("within", ["300ms", "0s"])
def test_a_wait_that_is_over_says_that_the_rollout_goes_on(installed: World, within: str) -> None:
    waited = installed.type("rollout", "start", installed.plan(SECOND), "--wait", "--timeout", within)
    assert waited.code == Exit.TIMEOUT
    assert "it goes on" in waited.err


@pytest.mark.parametrize("landed", [True, False], ids=["landed", "lost"])
def test_a_send_without_answer_is_read_back(installed: World, landed: bool) -> None:
    installed.log.lose_answers("plans", landed)
    started = installed.type("rollout", "start", installed.plan(SECOND))
    assert started.code == (Exit.OK if landed else Exit.TIMEOUT)
    assert len(plans(installed)) == (2 if landed else 1)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (SubjectState(subject="svc/a", phase=Phase.RUNNING, plan_digest="p"), None),
        (SubjectState(subject="svc/a", phase=Phase.ROLLING_BACK, plan_digest="p", result=Result.ROLLED_BACK), None),
        (SubjectState(subject="svc/a", phase=Phase.RUNNING, plan_digest="other", queue=("p",)), None),
        (SubjectState(subject="svc/a", phase=Phase.DONE, plan_digest="p", result=Result.PROMOTED), Exit.OK),
        (SubjectState(subject="svc/a", phase=Phase.DONE, plan_digest="p", result=Result.ROLLED_BACK), Exit.ROLLED_BACK),
        (SubjectState(subject="svc/a", phase=Phase.DONE, plan_digest="p", result=Result.ABORTED), Exit.ABORTED),
        (SubjectState(subject="svc/a", phase=Phase.DONE, plan_digest="p", result=Result.SUPERSEDED), Exit.SUPERSEDED),
        (SubjectState(subject="svc/a", phase=Phase.DONE, plan_digest="p", result=Result.FAILED), Exit.FAILED),
        (SubjectState(subject="svc/a", phase=Phase.RUNNING, plan_digest="other"), Exit.SUPERSEDED),
    ],
)
def test_every_end_has_its_exit_code(state: SubjectState, code: Exit | None) -> None:
    assert ended(state, "p") == code


def test_a_plan_that_a_person_withdrew_was_aborted() -> None:
    state = SubjectState(subject="svc/a", phase=Phase.RUNNING, plan_digest="other")
    assert ended(state, "p", Reason.ASKED) == Exit.ABORTED


def test_every_result_has_an_exit_code() -> None:
    assert set(rollout_start.OUTCOMES) == set(Result)


def test_the_fleet_is_listed_cordoned_and_uncordoned(installed: World) -> None:
    rows = installed.type("fleet", "list", "-o", "json").json
    assert [(row["node"], row["service"], row["version"], row["state"]) for row in rows] == [
        (node, "shop", "v1", "ready") for node in ("n1", "n2", "n3")
    ]
    assert installed.type("fleet", "cordon", "n2").code == 0
    assert installed.type("fleet", "list", "-o", "json").json[1]["node_state"] == "cordoned"
    assert installed.type("fleet", "uncordon", "n2").code == 0
    unknown = installed.type("fleet", "cordon", "n9")
    assert (unknown.code, "n9 is no enrolled node" in unknown.err) == (Exit.FAILED, True)


def test_a_node_that_is_replaced_leaves_the_fleet_and_its_successor_joins_it(installed: World) -> None:
    """Cordon, drain, retire, add (docs/nodes.md)."""
    assert installed.type("fleet", "cordon", "n3", "--reason", "disk fails").code == 0
    assert installed.type("fleet", "retire", "n3").code == 0
    assert {row["node"] for row in installed.type("fleet", "list", "-o", "json").json} == {"n1", "n2"}
    assert installed.type("keys", "enrol", "n4", "--public", "ab" * 32).code == 0
    listed = {row["node"]: row["node_state"] for row in installed.type("fleet", "list", "-o", "json").json}
    assert listed == {"n1": "reachable", "n2": "reachable", "n4": "never seen"}
    refused = installed.type("fleet", "cordon", "n3")
    assert (refused.code, "n3 is no enrolled node" in refused.err) == (1, True)


def test_status_of_what_nobody_rolled_out_says_what_is_known(installed: World) -> None:
    unknown = installed.type("rollout", "status", "shoe")
    assert unknown.code == Exit.FAILED
    assert "known are: shop" in unknown.err


def test_watching_a_service_that_nobody_knows_is_refused_with_the_names_there_are(installed: World) -> None:
    watched = installed.type("rollout", "watch", "shpo")
    assert watched.code == 1
    assert "known are: shop" in watched.err


def test_a_question_that_nobody_could_read_is_refused_before_it_is_sent(installed: World) -> None:
    """It was signed and sent; nobody answers what nobody can read, and the command waited for an answer."""
    before = len(installed.log.topic("intents"))
    for words in (["abort", "shop", "--reason", "x" * 257], ["pause", "a b"]):
        assert installed.type("rollout", *words).code == Exit.USAGE
    assert len(installed.log.topic("intents")) == before
