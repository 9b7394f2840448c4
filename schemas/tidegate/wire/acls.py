"""Who may do what on the broker: rights of each role's principal, derived from the topic table.

Reading and writing imply being allowed to describe. Nothing here is transactional, and an idempotent producer needs nothing but
the right to write. A right names one resource; only ``admin`` has rights over a prefix.
"""

from enum import StrEnum
from typing import Literal, get_args

from msgspec import Struct

from tidegate.wire.topics import TOPICS, Role

Principal = Literal[Role, "admin"]
"""A role of the table, or who makes topics and publishes, exports and restores what is in them."""

PRINCIPALS: tuple[Principal, ...] = (*get_args(Role), "admin")
GROUPS: tuple[Role, ...] = ("intake", "judge", "experiment", "bridge")
"""Roles whose processes form a consumer group, named by the prefix and the role."""


class Resource(StrEnum):
    """What a right is about."""

    TOPIC = "topic"
    GROUP = "group"
    CLUSTER = "cluster"


class Operation(StrEnum):
    """What it allows."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"
    DELETE = "delete"
    DESCRIBE = "describe"
    DESCRIBE_CONFIGS = "describe_configs"
    ALTER_CONFIGS = "alter_configs"


CLUSTER = "kafka-cluster"
"""The name that the one resource of kind cluster has."""


class Right(Struct, frozen=True, order=True):
    """One operation on one resource, or on all whose names begin so (``prefixed``)."""

    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False


def rights(principal: Principal, prefix: str = "tidegate.") -> list[Right]:
    """Return what a role's principal may do, and must be able to do, sorted.

    >>> [f"{right.operation} {right.name}" for right in rights("judge", "t.") if right.resource is Resource.GROUP]
    ['read t.judge']
    """
    if principal == "admin":
        own = [Right(Resource.TOPIC, prefix, operation, prefixed=True) for operation in Operation]
        looks = [
            Right(Resource.GROUP, prefix, Operation.DESCRIBE, prefixed=True),
            Right(Resource.CLUSTER, CLUSTER, Operation.DESCRIBE),
        ]
        return sorted([*own, *looks])
    found = [Right(Resource.GROUP, f"{prefix}{principal}", Operation.READ)] if principal in GROUPS else []
    for topic in TOPICS:
        for operation, roles in ((Operation.READ, topic.readers), (Operation.WRITE, topic.writers)):
            if principal in roles:
                found.append(Right(Resource.TOPIC, f"{prefix}{topic.name}", operation))
    return sorted(found)
