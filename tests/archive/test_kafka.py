"""From one cluster to another in the middle of a rollout, on real Kafka; two prefixes of one broker stand for two clusters."""

import asyncio
import secrets
import time

import pytest
from tests.archive.kit import HEAD, SHOP, TRUST, Fleet, commands, decisions
from tests.decider.kit import FLEET

from tidegate.archive import check, export, restore
from tidegate.archive.cluster import Cluster
from tidegate.archive.export import BACK, TOPICS
from tidegate.broker import BrokerProblem, Connection, KafkaLog, check_topics, create_topics, delete_topics, list_topics
from tidegate.decider.recorded import TOPICS as READ
from tidegate.decider.recorded import Recorded
from tidegate.ports import SystemClock
from tidegate.replay.decisions import replay
from tidegate.runtime.problem import Problem
from tidegate.wire.documents import GlassAction, Phase
from tidegate.wire.reasons import Reason
from tidegate.wire.topics import BY_NAME

pytestmark = pytest.mark.kafka
OTHERS = frozenset(BY_NAME) - frozenset(BACK)


PATIENT_S = 60.0
"""New partitions take long to find their leader on a busy machine."""


@pytest.fixture
async def log(connection):
    log = KafkaLog(connection, client_id="test", send_timeout_s=PATIENT_S)
    await log.start()
    yield log
    await log.close()


@pytest.fixture
async def there(kafka):
    """Another prefix, without topics."""
    there = Connection(kafka, f"t{secrets.token_hex(4)}.")
    yield there
    await delete_topics(there, tuple(BY_NAME))


async def written(connection, checked, *, replace=False):
    cluster = Cluster(connection)
    try:
        return await restore(checked, cluster, replace=replace, now_ms=time.time_ns() // 1_000_000)
    finally:
        await cluster.close()


async def read(log, topics):
    reader = await log.reader(topics)
    try:
        return await reader.read_to_end()
    finally:
        await reader.close()


async def test_a_rollout_in_mid_flight_is_exported_restored_and_finished_elsewhere(log, there, tmp_path, say):
    fleet = Fleet(SystemClock(), asyncio.sleep)
    fleet.log = log
    other = KafkaLog(there, client_id="test", send_timeout_s=PATIENT_S)
    try:
        await fleet.begin(bake="1s")
        await fleet.glass("drill", GlassAction.PAUSE)
        await fleet.wait(lambda: fleet.ledger.subject(SHOP).phase is Phase.PAUSED)
        launches, generation = fleet.launches(), fleet.ledger.subject(SHOP).generation
        fleet.remember()
        await fleet.resign()
        await fleet.leave()
        before = {record.topic: [] for record in await read(log, TOPICS)}
        for record in await read(log, TOPICS):
            before[record.topic].append(record)

        began_s = time.monotonic()
        done = await export(log, tmp_path / "a", HEAD)
        checked = check(tmp_path / "a", FLEET, done.sha256)
        assert (checked.resigned, checked.under_way, checked.ledger.head) == (True, [SHOP], fleet.ledger.head)
        await create_topics(there, names=OTHERS)
        # Everybody may be started before the restore is over, or before it has begun: they wait.
        await other.start()
        fleet.log = other
        fleet.serve()
        fleet.decide()
        await asyncio.sleep(1)
        assert not fleet.decider[0].caught_up
        restored = await written(there, checked)
        say(f"{sum(done.records.values())} records moved in {time.monotonic() - began_s:.1f} s, {done.size_bytes} bytes")

        await fleet.wait(lambda: fleet.decider[0].leading)
        assert fleet.launches() == launches
        assert await check_topics(there) == []
        for topic in ("keys", "plans", "verdicts"):
            assert (await read(other, [topic]))[: len(before.get(topic, []))] == before.get(topic, [])
        assert (await read(other, ["decisions"]))[: len(before["decisions"])] == before["decisions"]
        with pytest.raises(Problem, match="holds records"):
            await written(there, checked)

        # A person goes on; that is read, although a takeover has counted the offsets anew.
        await fleet.wait(lambda: fleet.ledger.subject(SHOP).paused_reason is Reason.RESTORED)
        with pytest.raises(Problem, match="leads on the target"):
            await written(there, checked, replace=True)
        await fleet.resume()
        await fleet.wait(lambda: fleet.ledger.subject(SHOP).phase is Phase.RUNNING)
        await fleet.finish()
        assert fleet.versions() == ["v2"] * 3
        assert fleet.launches() == [["v1", "v2"]] * 3
        assert fleet.ledger.subject(SHOP).generation > generation
        records = await read(other, ("desired", "decisions"))
        epochs = [one.epoch for one in decisions([one for one in records if one.topic == "decisions"])]
        assert epochs == sorted(epochs)
        assert epochs[-1] == restored.epoch + 1
        assert min(one.order for one in commands(records)) > max(one.order for one in commands(before["desired"]))
        raws = [(one.offset, one.value) for one in records if one.topic == "decisions"]
        again = replay(raws, Recorded(await read(other, READ), TRUST), FLEET, {SHOP: commands(records)[-1]})
        assert again.found == ()
    finally:
        await fleet.end()
        await other.close()


async def test_a_restore_that_died_is_not_opened_by_making_topics_and_is_replaced_when_asked(log, there, tmp_path):
    await log.append("plans", "svc/shop", b"noise")
    await export(log, tmp_path / "a", HEAD)
    checked = check(tmp_path / "a", FLEET)
    await create_topics(there, names=OTHERS)
    cluster = Cluster(there)
    for topic in BACK[:4]:
        await cluster.make(topic)
    with pytest.raises(BrokerProblem, match="has not come to its end"):
        await create_topics(there)
    await written(there, checked)
    assert await create_topics(there) == []
    assert await check_topics(there) == []
    with pytest.raises(Problem, match="holds records: decisions, plans"):
        await written(there, checked)
    await written(there, checked, replace=True)
    other = KafkaLog(there, client_id="test", send_timeout_s=PATIENT_S)
    try:
        assert [one.value for one in await read(other, ["plans"])] == [b"noise"]
        assert len(await read(other, ["decisions"])) == 1
    finally:
        await other.close()


async def test_whoever_writes_between_is_noticed(log, there, tmp_path):
    for number in range(3):
        await log.append("plans", "svc/shop", b"%d" % number)
    await export(log, tmp_path / "a", HEAD)
    other = KafkaLog(there, client_id="test", send_timeout_s=PATIENT_S)
    cluster = Cluster(there)
    real = cluster.make

    async def make(topic):
        await real(topic)
        if topic == "plans":
            await other.append("plans", "svc/shop", b"mine")

    cluster.make = make
    try:
        with pytest.raises(Problem, match="another process writes to plans"):
            await restore(check(tmp_path / "a", FLEET), cluster, replace=False, now_ms=1)
        assert "desired" not in await list_topics(there)
    finally:
        await cluster.close()
        await other.close()
