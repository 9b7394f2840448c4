"""``tidegate topics acl`` against a broker: made once, compared, what is extra told and removed; elsewhere nothing is touched."""

import asyncio
import json

from tests.kafka.secured.broker import SUPER
from tests.kafka.secured.kit import MARKS, Installation

from tidegate.broker.acls import Entry, make_acls, read_acls, remove_acls
from tidegate.wire.acls import Operation, Resource, Right

pytestmark = MARKS


def test_rights_are_made_once_and_what_is_extra_is_told_and_removed(installation: Installation) -> None:
    assert installation.grant().count("made: ") > 100
    assert installation.grant() == "access lists are as they should be\n"
    topic = f"{installation.prefix}desired"
    right = Right(Resource.TOPIC, topic, Operation.WRITE)
    foreign = Entry("User:tidegate-judge", Right(Resource.TOPIC, "payments", Operation.READ))
    star = Entry("User:auditor", Right(Resource.TOPIC, "*", Operation.READ))
    beside = Entry("User:other", Right(Resource.TOPIC, f"{installation.prefix}staging.plans", Operation.WRITE))
    boss = installation.broker.connection(SUPER, installation.prefix)
    asyncio.run(make_acls(boss, [Entry("User:tidegate-judge", right), Entry("User:mallory", right), foreign, star, beside]))

    found = installation.run("topics", "acl", "--check")
    assert found.code == 1
    assert f"extra: User:tidegate-judge may write topic {topic}\n" in found.out
    assert f"extra: User:mallory may write topic {topic}\n" in found.out
    assert "also there: User:auditor may read topic *\n" in found.out
    assert f"also there: User:other may write topic {installation.prefix}staging.plans\n" in found.out
    assert "payments" not in found.out
    assert "missing" not in found.out
    assert "removed: " not in installation.grant()
    assert installation.grant("--prune").count("removed: ") == 2
    assert installation.run("topics", "acl", "--check").code == 0
    assert {foreign, star, beside} <= asyncio.run(read_acls(boss)).entries
    asyncio.run(remove_acls(boss, [foreign, star, beside]))


def test_a_right_that_is_missing_is_told_to_the_admin_who_may_look_and_not_give(installation: Installation) -> None:
    installation.grant()
    lost = Entry("User:tidegate-node", Right(Resource.TOPIC, f"{installation.prefix}reports", Operation.WRITE))
    asyncio.run(remove_acls(installation.broker.connection(SUPER, installation.prefix), [lost]))
    found = installation.run("topics", "acl", "--check", "-o", "json")
    told = f"User:tidegate-node may write topic {installation.prefix}reports"
    assert (found.code, json.loads(found.out)["missing"]) == (1, [told])
    refused = installation.run("topics", "acl", "--apply")
    assert (refused.code, "does not let User:tidegate-admin change access lists" in refused.err) == (1, True)
    assert "--as USER" in refused.err
    assert installation.grant() == f"made: {told}\n"
