"""A broker that says no is told as such, with the remedy, by every kind of client; a secret is never shown."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from tests.kafka.secured.authority import Authority
from tests.kafka.secured.broker import SUPER, SecuredKafka
from tests.kafka.secured.kit import MARKS, Installation, until

from tidegate.broker import Connection, KafkaLog, knock
from tidegate.broker.acls import Entry, make_acls, remove_acls
from tidegate.broker.connection import BrokerRefused, BrokerSilent
from tidegate.ports import SendRefused
from tidegate.runtime.access import PLAIN_TEXT, Access, Tls
from tidegate.wire.acls import Operation, Resource, Right, rights
from tidegate.worker import Role, Worker

pytestmark = MARKS

KNOCKS = [
    ("password", "does not know User:tidegate-judge with this password", "file:"),
    ("mechanism", "takes no SCRAM-SHA-256", "kafka.sasl.mechanism"),
    ("authority", "is of no authority in", "kafka.tls.ca"),
    ("system", "is of no authority in the list of this system", "kafka.tls.ca"),
    ("name", "shows a certificate of another name", "name the broker as its certificate does"),
    ("plain", "speaks TLS, and this client plain text", "kafka.tls"),
    ("anonymous", "wants to know who is there", "kafka.sasl"),
    ("uncertified", "does not accept this client's certificate, which has none", "kafka.tls.certificate"),
    ("alien", "does not accept this client's certificate", "kafka.tls.certificate"),
    ("no tls", "does not speak TLS at this port", "remove kafka.tls"),
]


@pytest.fixture
def wrong(secured: SecuredKafka, tmp_path: Path) -> dict[str, Connection]:
    """Ways to come in that a broker refuses, by name."""
    good = secured.connection("tidegate-judge", "none.")
    tls, sasl = good.access.tls, good.access.sasl
    assert tls is not None
    assert sasl is not None
    other = Authority(tmp_path / "other", "another authority")
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("no password of anybody's")
    access = {
        "password": Access(tls, replace(sasl, password=f"file:{password}")),
        "mechanism": Access(tls, replace(sasl, mechanism="SCRAM-SHA-256")),
        "authority": Access(Tls(ca=str(other.ca)), sasl),
        "system": Access(Tls(), sasl),
        "plain": PLAIN_TEXT,
        "anonymous": Access(tls),
    }
    return {
        **{name: replace(good, access=one) for name, one in access.items()},
        "name": replace(good, bootstrap=secured.secured.replace("127.0.0.1", "localhost")),
        "uncertified": Connection(secured.mutual, access=Access(tls)),
        "alien": Connection(secured.mutual, access=Access(Tls(ca=tls.ca, certificate=str(other.certify("judge"))))),
        "no tls": replace(good, bootstrap=secured.bootstrap),
    }


@pytest.mark.parametrize(("name", "what", "remedy"), KNOCKS, ids=[row[0] for row in KNOCKS])
async def test_whoever_is_not_let_in_learns_why_and_what_to_do(
    wrong: dict[str, Connection], name: str, what: str, remedy: str
) -> None:
    problem = await knock(wrong[name])
    assert isinstance(problem, BrokerRefused)
    assert what in problem.what
    assert remedy in problem.remedy
    assert "no password of anybody's" not in str(problem)


async def test_whoever_is_known_comes_in_by_password_or_by_certificate_whatever_address_comes_first(
    secured: SecuredKafka,
) -> None:
    good = secured.connection("tidegate-judge", "none.")
    certified = Access(Tls(ca=str(secured.authority.ca), certificate=str(secured.authority.certify("somebody"))))
    assert await knock(good) is None
    assert await knock(replace(good, bootstrap=f"127.0.0.1:1, {good.bootstrap}")) is None
    assert await knock(Connection(secured.mutual, access=certified)) is None


@pytest.mark.parametrize("name", ["password", "plain"])
async def test_a_broker_that_hangs_or_lets_go_of_everybody_is_silent_and_refuses_nobody(
    wrong: dict[str, Connection], name: str
) -> None:
    """It may end at this moment: nothing is wrong with a password then."""
    hanging: set[asyncio.StreamWriter] = set()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hanging.add(writer)

    async def let_go(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    for handler in (hang, let_go):
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        address = "{}:{}".format(*server.sockets[0].getsockname())
        problem = await knock(replace(wrong[name], bootstrap=address), 0.3)
        assert isinstance(problem, BrokerSilent)
        assert problem.what == f"no broker answers at {address}"
        server.close()
    for writer in hanging:
        writer.close()


@pytest.mark.parametrize("name", ["password", "authority", "plain"])
def test_a_command_ends_at_once_and_a_role_too_where_its_password_is_not_there(
    installation: Installation, wrong: dict[str, Connection], name: str
) -> None:
    access = wrong[name].access
    files = {
        "tls": access.tls and {"ca": access.tls.ca},
        "sasl": access.sasl and {"user": "tidegate-judge", "password": access.sasl.password},
    }
    installation.configure(**files)
    done = installation.run("topics", "check")
    assert done.code == 1
    assert next(what for row, what, _ in KNOCKS if row == name) in done.err
    assert "do: " in done.err


def test_a_secret_that_others_can_read_or_that_is_missing_is_refused_before_anything_starts(installation: Installation) -> None:
    path = installation.home / "keys" / "tidegate-decide"
    path.chmod(0o644)
    done = installation.run("decide")
    assert (done.code, f"{path} is a secret and others can read it" in done.err) == (2, True), done.err
    path.unlink()
    done = installation.run("decide")
    assert (done.code, f"{path}: no secret can be read there" in done.err) == (2, True), done.err


@contextlib.asynccontextmanager
async def opened_log(where: Connection, **options: bool) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(where, client_id="test", send_timeout_s=5.0, **options)
    try:
        yield log
    finally:
        await log.close()


@pytest.mark.parametrize("one_of_many", [False, True])
async def test_what_a_role_may_not_write_is_refused_said_once_and_hinders_nothing_else(
    opened: Installation, one_of_many: bool
) -> None:
    with capture_logs() as said:
        async with opened_log(opened.connection("judge"), one_of_many=one_of_many) as log:
            for topic in ("decisions", "decisions", "desired"):
                with pytest.raises(SendRefused, match=f"does not let User:tidegate-judge write {opened.prefix}{topic}"):
                    await log.append(topic, "svc/shop", b"{}")
            assert (await log.append("verdicts", "svc/shop", b"{}")).partition == 0
    assert [line["event"].split(" write ")[1] for line in said if line["log_level"] == "error"] == [
        f"{opened.prefix}decisions",
        f"{opened.prefix}desired",
    ]


async def test_a_role_that_may_not_see_its_topics_says_so_waits_and_goes_on_when_it_may(installation: Installation) -> None:
    await asyncio.to_thread(installation.grant, "--principal", "judge=somebody-else")
    await asyncio.to_thread(installation.type, "topics", "create")
    with capture_logs() as said:
        async with opened_log(installation.connection("judge")) as log:
            reading = asyncio.create_task(log.reader(["nodeseconds"]))
            await until(lambda: said)
            own = [Entry("User:tidegate-judge", right) for right in rights("judge", installation.prefix)]
            await make_acls(installation.broker.connection(SUPER, installation.prefix), own)
            async with asyncio.timeout(20):
                reader = await reading
            await reader.close()
    events = [line["event"] for line in said if line["log_level"] != "debug"]
    assert events == [
        f"the broker does not let User:tidegate-judge see {installation.prefix}nodeseconds",
        "broker answers",
    ]
    assert "tidegate topics acl" in said[0]["remedy"]


async def test_a_role_says_at_once_that_its_password_is_wrong_and_comes_in_when_it_is_mended(
    opened: Installation, tmp_path: Path
) -> None:
    """The file is read anew for each try: nobody needs to restart anything."""
    good = opened.connection("judge")
    assert good.access.sasl is not None
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("old")
    where = replace(good, access=Access(good.access.tls, replace(good.access.sasl, password=f"file:{password}")))
    with capture_logs() as said:
        async with opened_log(where) as log:
            starting = asyncio.create_task(log.start())
            await until(lambda: said)
            password.write_text((opened.broker.folder / "tidegate-judge").read_text())
            async with asyncio.timeout(20):
                await starting
            await log.append("verdicts", "svc/shop", b"{}")
    assert [line["event"] for line in said if line["log_level"] != "debug"] == [
        f"the broker at {where.bootstrap} does not know User:tidegate-judge with this password",
        "broker answers",
    ]


async def test_a_worker_that_may_not_join_its_group_says_so_and_begins_when_it_may(installation: Installation) -> None:
    """Faust would try for ever, and say nothing."""
    await asyncio.to_thread(installation.grant)
    await asyncio.to_thread(installation.type, "topics", "create")
    boss = installation.broker.connection(SUPER, installation.prefix)
    group = [
        Entry("User:tidegate-intake", right)
        for right in rights("intake", installation.prefix)
        if right.resource is Resource.GROUP
    ]
    await remove_acls(boss, group)
    worker, stop = Worker(Role.INTAKE, installation.connection("intake"), registry=CollectorRegistry()), asyncio.Event()
    with capture_logs() as said:
        running = asyncio.create_task(worker.run(stop))
        await until(lambda: said)
        assert said[0]["event"] == f"the broker does not let User:tidegate-intake use {installation.prefix}intake"
        await make_acls(boss, group)
        await until(lambda: worker.not_ready() is None, 60.0)
    stop.set()
    await running


@pytest.mark.parametrize(
    ("topic", "command"),
    [
        ("keys", ("keys", "enrol", "n9", "--public", "ab" * 32)),
        ("intents", ("fleet", "cordon", "n1", "--reason", "a try")),
    ],
)
def test_a_command_that_may_not_write_says_so_and_not_that_nobody_answered(
    installation: Installation, topic: str, command: tuple[str, ...]
) -> None:
    installation.grant()
    installation.type("init", "--publish", "--node", "n1")
    lost = Entry("User:tidegate-operator", Right(Resource.TOPIC, f"{installation.prefix}{topic}", Operation.WRITE))
    asyncio.run(remove_acls(installation.broker.connection(SUPER, installation.prefix), [lost]))
    done = installation.run(*command)
    assert done.code == 1
    assert f"the broker does not let User:tidegate-operator write {installation.prefix}{topic}" in done.err
    assert "tidegate topics acl" in done.err
