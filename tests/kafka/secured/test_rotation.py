"""Passwords are exchanged under a system that runs: nobody is restarted, everybody comes in again with the new one."""

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from tests.kafka.secured.broker import SUPER, SecuredKafka
from tests.kafka.secured.kit import MARKS, Installation, until

from tidegate.broker import KafkaLog
from tidegate.broker.jars import kafka_jars
from tidegate.ports import LogReader, SendUnknown
from tidegate.sdk.sender import Sender
from tidegate.wire.acls import PRINCIPALS
from tidegate.wire.telemetry import Telemetry

pytestmark = [*MARKS, pytest.mark.thorough]

WITHIN_S = 60.0


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[SecuredKafka]:
    """A secured broker of this test's own: its passwords change, and it is restarted."""
    broker = SecuredKafka(await kafka_jars(print), tmp_path, [f"tidegate-{role}" for role in PRINCIPALS])
    await broker.start()
    yield broker
    await broker.stop()


def exchange(broker: SecuredKafka, users: Iterable[str]) -> None:
    """Give users other passwords: in their files, and then at the broker."""
    admin = AdminClient(
        {
            "bootstrap.servers": broker.secured,
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(broker.authority.ca),
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": SUPER,
            "sasl.password": (broker.folder / SUPER).read_text(),
        }
    )
    changes = []
    for user in users:
        password = secrets.token_hex(12)
        (broker.folder / user).write_text(password)
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        changes.append(UserScramCredentialUpsertion(user, info, password.encode()))
    for done in admin.alter_user_scram_credentials(changes).values():
        done.result(WITHIN_S)


def row(seq: int) -> Telemetry:
    return Telemetry(service="shop", node="n1", boot="b", version=f"mark-{seq}", seq=seq, start_ms=time.time_ns() // 1_000_000)


async def test_every_kind_of_client_comes_in_again_with_the_new_password(own: SecuredKafka, tmp_path: Path) -> None:
    installation = await asyncio.to_thread(Installation, own, tmp_path / "home", "rot.")
    installation.configure(sasl={"user": "tidegate-{role}", "password": f"file:{own.folder}/tidegate-{{role}}"})
    await asyncio.to_thread(installation.grant)
    await asyncio.to_thread(installation.type, "topics", "create")
    told = (tmp_path / "intake.log").open("w")
    intake = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidegate.cli.main", "--home", str(installation.home), "worker", "intake"), stderr=told
    )
    decide, node = installation.connection("decide"), installation.connection("node")
    log, many = KafkaLog(decide, client_id="decide", send_timeout_s=5.0), KafkaLog(node, client_id="node", one_of_many=True)
    service = installation.connection("service")
    sender = Sender(service.bootstrap, service.prefix, access=service.access)
    sender.start()
    watching = await KafkaLog(installation.connection("judge"), client_id="judge").reader(["nodeseconds"])
    reader = await many.reader(["desired"])
    seen: list[bytes | None] = []
    try:
        await log.append("desired", "before", b"{}")
        await many.append("reports", "n1", b"{}")
        sender.put(row(1))
        await _passed(watching, b"mark-1")

        await asyncio.to_thread(exchange, own, [f"tidegate-{role}" for role in PRINCIPALS])
        await own.stop()
        await own.start()

        async with asyncio.timeout(WITHIN_S):
            while not await _appended(log, "desired", "after"):
                pass
            while not await _appended(many, "reports", "n1"):
                pass
            while b"after" not in seen:
                seen += [(record.key or "").encode() for record in await reader.poll(1.0)]
        sender.put(row(2))
        await until(lambda: sender.stats().waiting == 0, WITHIN_S)
        await _passed(watching, b"mark-2")
        assert intake.returncode is None
    finally:
        intake.terminate()
        await intake.wait()
        told.close()
        await sender.stop(1.0)
        for one in (reader, watching, log, many):
            await one.close()


async def _passed(reader: LogReader, mark: bytes) -> None:
    """Wait until a row has passed intake."""
    async with asyncio.timeout(WITHIN_S):
        while not any(mark in (record.value or b"") for record in await reader.poll(1.0)):
            pass


async def _appended(log: KafkaLog, topic: str, key: str) -> bool:
    """Append; whether it was confirmed. Sends under way when the broker ends are unknown, as ever."""
    try:
        await log.append(topic, key, b"{}")
    except SendUnknown:
        return False
    return True
