"""Rights follow from the topic table, and give nobody more."""

import pytest
from tests.wire.rights_table import PAGE, page, table

from tidegate.wire.acls import GROUPS, PRINCIPALS, Operation, Resource, Right, rights
from tidegate.wire.topics import TOPICS


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_writers_may_write_readers_may_read_and_nobody_else_may_either(topic):
    for operation, roles in ((Operation.WRITE, topic.writers), (Operation.READ, topic.readers)):
        right = Right(Resource.TOPIC, f"p.{topic.name}", operation)
        assert {role for role in PRINCIPALS if right in rights(role, "p.")} == set(roles)


@pytest.mark.parametrize("role", PRINCIPALS)
def test_a_role_has_something_to_do_and_only_admin_has_a_prefix_or_more_than_reading_and_writing(role):
    found = rights(role, "p.")
    assert found == sorted(set(found))
    assert found
    if role != "admin":
        assert not any(right.prefixed for right in found)
        assert {right.operation for right in found} <= {Operation.READ, Operation.WRITE}
        assert {right.name for right in found if right.resource is Resource.GROUP} == ({f"p.{role}"} if role in GROUPS else set())


def test_no_right_is_outside_the_prefix_but_that_to_look_at_access_lists():
    beyond = {right for role in PRINCIPALS for right in rights(role, "p.") if not right.name.startswith("p.")}
    assert beyond == {Right(Resource.CLUSTER, "kafka-cluster", Operation.DESCRIBE)}


def test_the_table_in_the_documentation_is_this_one():
    assert PAGE.read_text() == page(), "write it anew: PYTHONPATH=. .venv/bin/python -m tests.wire.rights_table"
    assert table() in page()
