"""Access lists on the broker: read, made and removed; and what the broker says that a client may do."""

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka.errors import ClusterAuthorizationFailedError, SecurityDisabled, for_code
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest
from msgspec import Struct

from tidegate.broker.admin import asking
from tidegate.broker.connection import BrokerProblem, Connection
from tidegate.wire.acls import Operation, Resource, Right

EVERY_HOST = "*"
VISIBLE_WITHIN_S = 20.0

# Numbers of Kafka's protocol.
_ANY, _ALLOW = 1, 3
_LITERAL, _PREFIXED = 3, 4
RESOURCES = {2: Resource.TOPIC, 3: Resource.GROUP, 4: Resource.CLUSTER}
OPERATIONS = {
    3: Operation.READ,
    4: Operation.WRITE,
    5: Operation.CREATE,
    6: Operation.DELETE,
    8: Operation.DESCRIBE,
    10: Operation.DESCRIBE_CONFIGS,
    11: Operation.ALTER_CONFIGS,
}
_OTHERS = {2: "all", 7: "alter", 9: "cluster_action", 12: "idempotent_write"}
_RESOURCE_NUMBERS = {resource: number for number, resource in RESOURCES.items()}
_OPERATION_NUMBERS = {operation: number for number, operation in OPERATIONS.items()}


class _Create(CreateAclsRequest):
    """Many at once: aiokafka's own asks for one, and a broker takes 30 ms for each request."""

    def __init__(self, creations: list[tuple[Any, ...]]) -> None:
        self._items = creations

    def build(self, request_struct_class: type[Any]) -> Any:
        return request_struct_class(self._items)


class _Delete(DeleteAclsRequest):
    """Likewise."""

    def __init__(self, filters: list[tuple[Any, ...]]) -> None:
        self._items = filters

    def build(self, request_struct_class: type[Any]) -> Any:
        return request_struct_class(self._items)


class Entry(Struct, frozen=True, order=True):
    """One entry of an access list, of the kind that allows, from every host."""

    principal: str
    """As in ``User:tidegate-judge``."""
    right: Right


class Lists(Struct, frozen=True):
    """What stands on a broker. ``other``: what allows or denies otherwise than ours do, in words."""

    entries: frozenset[Entry]
    other: tuple[str, ...]


async def read_acls(connection: Connection) -> Lists:
    """Return all entries of topics, groups and the cluster. BrokerProblem where the broker has none, or does not show them."""
    response = await _asked(connection, DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY))
    _refuse(response.error_code, response.error_message, connection)
    entries, other = set(), []
    for kind, name, pattern, found in response.resources:
        for principal, host, operation, permission in found:
            entry = _entry((kind, name, pattern), principal, operation)
            if entry is not None and host == EVERY_HOST and permission == _ALLOW:
                entries.add(entry)
            else:
                says = "allows" if permission == _ALLOW else "denies"
                other.append(f"{says} {principal} {_word(operation)} on {name} from {host}")
    return Lists(frozenset(entries), tuple(sorted(other)))


async def make_acls(connection: Connection, entries: Iterable[Entry]) -> None:
    """Add entries; those that are there already stay. Returns when they are seen; BrokerProblem where the broker refuses."""
    made = frozenset(entries)
    response = await _asked(connection, _Create([_numbers(entry) for entry in sorted(made)]))
    for code, message in response.creation_responses:
        _refuse(code, message, connection)
    await _seen(connection, made, there=True)


async def remove_acls(connection: Connection, entries: Iterable[Entry]) -> None:
    """Remove entries. Returns when they are seen no more; BrokerProblem where the broker refuses."""
    gone = frozenset(entries)
    response = await _asked(connection, _Delete([_numbers(entry) for entry in sorted(gone)]))
    for code, message, _removed in response.filter_responses:
        _refuse(code, message, connection)
    await _seen(connection, gone, there=False)


async def _seen(connection: Connection, entries: frozenset[Entry], *, there: bool) -> None:
    """Wait until all of some entries count at the broker that is asked, or none of them: it hears of them from another."""
    wanted = entries if there else frozenset()
    try:
        async with asyncio.timeout(VISIBLE_WITHIN_S):
            while entries & (await read_acls(connection)).entries != wanted:  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise BrokerProblem(
            f"changed access lists do not count after {VISIBLE_WITHIN_S:.0f} s", "see the broker's log"
        ) from error


async def _asked(connection: Connection, request: Any) -> Any:
    async with asking(connection) as admin:
        return await admin._send_request(request)  # noqa: SLF001 - the client has no public call for access lists


def _numbers(entry: Entry) -> tuple[Any, ...]:
    right = entry.right
    pattern = _PREFIXED if right.prefixed else _LITERAL
    of = (_RESOURCE_NUMBERS[right.resource], right.name, pattern)
    return (*of, entry.principal, EVERY_HOST, _OPERATION_NUMBERS[right.operation], _ALLOW)


def _entry(resource: tuple[int, str, int], principal: str, operation: int) -> Entry | None:
    kind, name, pattern = resource
    if kind not in RESOURCES or operation not in OPERATIONS:
        return None
    return Entry(principal, Right(RESOURCES[kind], name, OPERATIONS[operation], prefixed=pattern == _PREFIXED))


def _word(operation: int) -> str:
    return str(OPERATIONS[operation]) if operation in OPERATIONS else _OTHERS.get(operation, str(operation))


def _refuse(code: int, message: str | None, connection: Connection) -> None:
    error = for_code(code)
    if not code:
        return
    if error is SecurityDisabled:
        raise BrokerProblem(
            f"the broker at {connection.bootstrap} has no authorizer: everybody may do everything",
            "set authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer on the broker; docs/security.md",
        )
    if error is ClusterAuthorizationFailedError:
        raise BrokerProblem(
            f"the broker does not let {connection.access.principal} change access lists, or see them",
            "run it as a super user of the broker: tidegate topics acl --apply --as USER --password env:NAME",
        )
    raise BrokerProblem(f"the broker refused: {error.__name__} {message or ''}".strip(), "see its log")
