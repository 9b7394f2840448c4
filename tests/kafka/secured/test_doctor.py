"""``tidegate doctor`` at a secured broker: each thing that is broken there is found, and nothing else."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest
import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from tests.kafka.secured.broker import SUPER
from tests.kafka.secured.kit import MARKS, Installation

from tidegate.broker.acls import Entry, make_acls, remove_acls
from tidegate.cli.doctor_broker import doors
from tidegate.cli.doctor_finding import DAY_MS
from tidegate.wire.acls import Operation, Resource, Right
from tidegate.wire.topics import BY_NAME

pytestmark = MARKS

SEEN_WITHIN_S = 20.0
NOBODY_RUNS = {("problem", "decide"), ("problem", "intake"), ("problem", "judge"), ("warning", "experiment")}
"""Nothing was started: whatever is broken, this is found where it can be looked at."""


class Broken(NamedTuple):
    """A way to break a secured installation, and the finding that tells of it."""

    what: str
    breaks: Callable[[Installation], Awaitable[object] | None]
    level: str
    about: str
    said: str
    remedy: str


def right(installation: Installation, role: str, topic: str, operation: Operation) -> Entry:
    return Entry(f"User:tidegate-{role}", Right(Resource.TOPIC, f"{installation.prefix}{topic}", operation))


async def lose(installation: Installation) -> None:
    lost = right(installation, "decide", "desired", Operation.WRITE)
    await remove_acls(installation.broker.connection(SUPER, installation.prefix), [lost])


async def give(installation: Installation) -> None:
    given = right(installation, "judge", "desired", Operation.WRITE)
    await make_acls(installation.broker.connection(SUPER, installation.prefix), [given])


async def administer(installation: Installation, work: Callable[[AIOKafkaAdminClient], Awaitable[object]]) -> None:
    admin = AIOKafkaAdminClient(**installation.broker.connection(SUPER, installation.prefix).arguments())
    await admin.start()
    await work(admin)
    await admin.close()


async def shorten(installation: Installation) -> None:
    settings = BY_NAME["decisions"].config() | {"retention.ms": "60000"}
    resource = ConfigResource(ConfigResourceType.TOPIC, f"{installation.prefix}decisions", settings)
    await administer(installation, lambda admin: admin.alter_configs([resource]))


async def delete(installation: Installation) -> None:
    await administer(installation, lambda admin: admin.delete_topics([f"{installation.prefix}otlp"]))


async def widen(installation: Installation) -> None:
    await administer(installation, lambda admin: admin.create_partitions({f"{installation.prefix}plans": NewPartitions(3)}))


def mistype(installation: Installation) -> None:
    (installation.home / "keys" / "tidegate-api").write_text("another")


BROKEN = [
    Broken("a right is lost", lose, "problem", "rights", "User:tidegate-decide (decide) may not write {}desired", "acl --apply"),
    Broken("a right too many", give, "warning", "rights", "User:tidegate-judge (judge) may write {}desired, and need", "--prune"),
    Broken("too short a memory", shorten, "problem", "topics", "{}decisions: retention.ms is 60000", "kafka-configs"),
    Broken("a topic is gone", delete, "problem", "topics", "{}otlp is missing", "tidegate topics create"),
    Broken("too many partitions", widen, "problem", "topics", "{}plans has 3 partitions instead of 1", "make it anew"),
    Broken("a wrong password", mistype, "problem", "broker", "does not know User:tidegate-api with this", "mend kafka.sasl"),
]


AT_ONCE = ("a right is lost", "a right too many", "a wrong password")


def findings(installation: Installation) -> list[dict[str, str]]:
    return json.loads(installation.run("doctor", "-o", "json").out)["findings"]


def break_and_look(installation: Installation, *broken: Broken) -> list[dict[str, str]]:
    """Break something; return what is found of it. The broker tells of a change a little later than it has made it."""
    for one in broken:
        done = one.breaks(installation)
        if done is not None:
            asyncio.run(done)
    deadline_s = time.monotonic() + SEEN_WITHIN_S
    while True:
        told = [one for one in findings(installation) if (one["level"], one["about"]) not in NOBODY_RUNS]
        if len(told) == len(broken) or time.monotonic() > deadline_s:
            return told


@pytest.fixture
def sound(installation: Installation) -> Installation:
    """Rights and topics are made, keys are published, and what no process needs is elsewhere; nothing runs."""
    installation.grant()
    installation.type("init", "--publish")
    for name in ("root.key", "breakglass.key"):
        (installation.home / "keys" / name).unlink()
    settings = yaml.safe_load(installation.config.read_text())
    settings["timings"] = {"heartbeat": "100ms", "takeover": "300ms"}  # so long it listens
    installation.config.write_text(yaml.safe_dump(settings))
    return installation


@pytest.mark.thorough
@pytest.mark.parametrize("broken", BROKEN, ids=[row.what for row in BROKEN])
def test_each_broken_thing_is_found_at_the_broker(sound: Installation, broken: Broken) -> None:
    told = break_and_look(sound, broken)
    assert [(one["level"], one["about"]) for one in told] == [(broken.level, broken.about)], told
    assert broken.said.format(sound.prefix) in told[0]["what"]
    assert broken.remedy in told[0]["remedy"]


def test_several_broken_things_are_found_at_once(sound: Installation) -> None:
    told = findings(sound)
    assert {(one["level"], one["about"]) for one in told} == NOBODY_RUNS, told
    rows = [row for row in BROKEN if row.what in AT_ONCE]
    told = break_and_look(sound, *rows)
    assert sorted((one["level"], one["about"]) for one in told) == sorted((row.level, row.about) for row in rows), told
    assert all(any(row.said.format(sound.prefix) in one["what"] for one in told) for row in rows)


@pytest.mark.thorough
def test_roles_that_come_as_the_super_user_are_told_of(sound: Installation) -> None:
    sound.configure(sasl={"user": SUPER, "password": f"file:keys/{SUPER}"})
    told = [one for one in findings(sound) if (one["level"], one["about"]) not in NOBODY_RUNS]
    assert [(one["level"], one["about"]) for one in told] == [("warning", "rights")]
    assert "lets every role do everything" in told[0]["what"]


async def test_a_certificate_of_the_broker_that_ends_soon_is_told_of(opened: Installation) -> None:
    later_ms = time.time_ns() // 1_000_000 + 350 * DAY_MS
    told, inside = await doors({"judge": opened.connection("judge")}, later_ms)
    assert [(one.level, one.about, one.what.split(" ends on ")[0]) for one in told] == [
        ("warning", "certificate", f"the certificate of the broker at {opened.broker.secured}")
    ]
    assert inside == ["judge"]
