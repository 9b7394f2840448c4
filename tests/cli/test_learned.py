"""What is learned of a service is shown from the judge's checkpoint, with what is a prior, and plainly where there is nothing."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from aiokafka.admin import AIOKafkaAdminClient
from msgspec.structs import replace
from tests.cli.kit import World
from tests.cli.test_rollout import FIRST
from tests.cli.test_rollout_plan import PLAN, kpi
from tests.detect.drift.kit import quiet
from tests.detect.test_known import FLEET, LEARNED

from tidegate.broker import Connection, KafkaLog
from tidegate.cli import judge_state
from tidegate.detect.drift.state import Drift
from tidegate.detect.state import SubjectJudgement
from tidegate.judge import JudgeState, snapshot
from tidegate.runtime.home import Home
from tidegate.wire.partition import partition_of
from tidegate.worker import checkpoints
from tidegate.worker.checkpoints import Checkpoint, key_of

PARTITION = partition_of("shop", 12)
EDGES = (100, 104, 108, 112, 116, 120)


def checkpoint(offset: int = 0, drift: Drift | None = None, service: str = "shop") -> bytes:
    state = JudgeState(PARTITION)
    known = drift if drift is not None else Drift(past=replace(quiet(FLEET), edges=EDGES), learned=LEARNED)
    state.subjects[f"svc/{service}"] = SubjectJudgement(drift=known)
    return checkpoints.encode(checkpoints.pack(offset, snapshot(state)))


@pytest.fixture
def judged(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose log the command reads checkpoints from."""

    async def load(home: Home, partition: int) -> Sequence[Checkpoint]:
        assert home.settings.fleet
        return [checkpoints.decode(one.value or b"") for one in reversed(world.log.records["checkpoints", partition])]

    monkeypatch.setattr(judge_state, "load", load)
    return world


def write(world: World, *values: bytes) -> None:
    for value in values:
        asyncio.run(world.log.append("checkpoints", key_of("judge", PARTITION), value, partition=PARTITION))


def test_numbers_that_were_learned_stand_beside_priors_in_brackets(judged: World) -> None:
    write(judged, checkpoint())
    told = judged.type("fleet", "learned", "shop")
    assert (told.code, told.err) == (0, "")
    for words in (
        "12 min of 20 servers",
        "30 seen, revision 3",
        "2 healthy (placebos); largest log e 2.50, with all nodes 3.50",
        "cold start  45 s\n",
        "slower than",
        "x 6",
    ):
        assert words in told.out, words
    errors = next(line for line in told.out.splitlines() if line.startswith("errors "))
    assert "0.31" in errors
    assert "(0.31)" not in errors
    assert "(0.5)" in errors
    assert "nothing is known" not in told.out


def test_programs_get_the_same_as_one_object(judged: World) -> None:
    write(judged, checkpoint(7))
    told = judged.type("fleet", "learned", "shop", "-o", "json").json
    assert (told["service"], told["partition"], told["offset"]) == ("shop", PARTITION, 7)
    assert (told["known"]["revision"], told["known"]["restarts"], told["known"]["cold_s"]) == (3, 30, 45.0)
    errors = told["known"]["metrics"][0]
    assert (errors["metric"], errors["node"]) == ("errors", 0.31)
    assert "node" not in errors["priors"]
    assert yaml.safe_load(judged.type("fleet", "learned", "shop", "-o", "yaml").out) == told


def test_where_nothing_is_known_that_is_said_plainly(judged: World) -> None:
    write(judged, checkpoint(drift=Drift()))
    told = judged.type("fleet", "learned", "shop")
    assert told.code == 0
    assert "nothing is known yet: every number here is a prior" in told.out
    assert "120 s (prior)" in told.out
    assert "x 5 " in told.out


def test_before_the_first_checkpoint_the_remedy_is_told(judged: World) -> None:
    told = judged.type("fleet", "learned", "shop")
    assert told.code == 1
    assert f"no checkpoint of partition {PARTITION} yet" in told.err
    assert "wait 10 s" in told.err


def test_a_service_that_nobody_publishes_is_named(judged: World) -> None:
    write(judged, checkpoint(service="ship"))
    told = judged.type("fleet", "learned", "shop")
    assert told.code == 1
    assert "has heard nothing of a service shop" in told.err


def test_a_checkpoint_of_another_version_is_passed_over_and_where_all_are_that_is_said(judged: World) -> None:
    newer = checkpoints.encode(Checkpoint(9, b"\x82\xa7version\x63\xabreadable_by\x63"))
    torn = checkpoints.encode(Checkpoint(8, b"\xc1"))
    write(judged, checkpoint(5), torn, newer)
    assert judged.type("fleet", "learned", "shop", "-o", "json").json["offset"] == 5
    judged.log.records["checkpoints", PARTITION].pop(0)
    told = judged.type("fleet", "learned", "shop")
    assert told.code == 1
    assert f"no checkpoint of partition {PARTITION} can be read here" in told.err
    assert "offset 9: version: this checkpoint is of version 99" in told.err
    assert "of the version that the judge runs" in told.err


def test_without_a_broker_the_remedy_is_told(world: World) -> None:
    told = world.type("fleet", "learned", "shop")
    assert told.code == 1
    assert "no broker is known" in told.err


@pytest.fixture
def plan(judged: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """A plan in a world in which the service publishes."""
    reader = judged.log.reader

    async def with_traffic(topics: Sequence[str], **where: object):
        opened = await reader(topics, **where)
        if "kpis" in topics:
            await judged.log.append("kpis", "shop", kpi(), partition=PARTITION)
        return opened

    monkeypatch.setattr(judged.log, "reader", with_traffic)
    judged.artifact("shop-v2.tar")
    return judged.plan(PLAN)


def test_a_plan_is_looked_at_with_what_was_learned(judged: World, plan: str) -> None:
    judged.artifact("shop-v1.tar")
    assert judged.type("rollout", "start", judged.plan(FIRST, "first.yaml"), "--wait", "--timeout", "20s").code == 0
    before = judged.type("rollout", "plan", plan, "--nodes", "40")
    assert "priors (there is no checkpoint of partition" in before.out
    write(judged, checkpoint())
    after = judged.type("rollout", "plan", plan, "--nodes", "40")
    assert "learned of 30 restarts and 12 quiet min" in after.out
    assert "40 nodes, 100 requests/s each, 1.02% of them fail" in after.out
    assert not any(one["priors"] for one in judged.type("rollout", "plan", plan, "--nodes", "40", "-o", "json").json)
    stages = [[line for line in told.out.splitlines() if line[:1].isdigit()][1:] for told in (before, after)]
    assert stages[0] != stages[1]


def test_a_judge_that_has_only_priors_is_told_as_such(judged: World, plan: str) -> None:
    write(judged, checkpoint(drift=Drift()))
    assert "priors, mostly (0 restarts and 0 quiet min seen)" in judged.type("rollout", "plan", plan, "--nodes", "40").out


def test_with_both_options_nobody_is_asked(world: World) -> None:
    world.artifact("shop-v2.tar")
    told = world.type("rollout", "plan", world.plan(PLAN), "--nodes", "40", "--rate", "50")
    assert "priors (no broker was asked)" in told.out


@pytest.mark.kafka
async def test_on_a_real_broker_the_newest_checkpoint_is_read(
    tmp_path: Path, connection: Connection, log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_BOOTSTRAP", connection.bootstrap)
    monkeypatch.setenv("TIDEGATE__KAFKA__PREFIX", connection.prefix)
    world = World(tmp_path)
    assert (await asyncio.to_thread(world.type, "init")).code == 0
    none = await asyncio.to_thread(world.type, "fleet", "learned", "shop")
    assert (none.code, f"no checkpoint of partition {PARTITION} yet" in none.err) == (1, True)
    for number in range(3):
        await log.append("nodeseconds", None, b"%d" % number, partition=PARTITION)
    for offset in (1, 2):
        await log.append("checkpoints", key_of("judge", PARTITION), checkpoint(offset), partition=PARTITION)
    told = await asyncio.to_thread(world.type, "fleet", "learned", "shop", "-o", "json")
    assert (told.code, told.json["offset"], told.json["known"]["restarts"]) == (0, 2, 30)


@pytest.mark.kafka
async def test_without_topics_the_check_is_told_and_none_is_made(
    tmp_path: Path, bare_connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_state, "LOAD_WITHIN_S", 2.0)
    monkeypatch.delenv("TIDEGATE_BOOTSTRAP", raising=False)
    world = World(tmp_path)
    assert (await asyncio.to_thread(world.type, "init")).code == 0
    monkeypatch.setenv("TIDEGATE_BOOTSTRAP", bare_connection.bootstrap)
    monkeypatch.setenv("TIDEGATE__KAFKA__PREFIX", bare_connection.prefix)
    told = await asyncio.to_thread(world.type, "fleet", "learned", "shop")
    assert told.code == 1
    assert "tidegate topics check" in told.err
    admin = AIOKafkaAdminClient(bootstrap_servers=bare_connection.bootstrap)
    await admin.start()
    assert not [topic for topic in await admin.list_topics() if topic.startswith(bare_connection.prefix)]
    await admin.close()
