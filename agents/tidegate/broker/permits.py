"""What the broker says that a client may do, asked by the client itself: nothing is written to find out."""

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from tidegate.broker.acls import OPERATIONS
from tidegate.broker.admin import asking
from tidegate.broker.connection import Connection
from tidegate.wire.acls import Operation

UNKNOWN_TOPIC = 3
COORDINATOR_WITHIN_S = 10.0
NOT_YET = (GroupLoadInProgressError, GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError)


class _MetadataResponse(Response):
    """As much of version 8 as tells what is allowed: aiokafka stops at version 5."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8")))),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("name", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("in_sync", Array(Int32)),
                        ("offline", Array(Int32)),
                    ),
                ),
                ("operations", Int32),
            ),
        ),
        ("cluster_operations", Int32),
    )


class _MetadataStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_operations", Boolean),
        ("include_topic_operations", Boolean),
    )


class _MetadataRequest(Request[_MetadataStruct]):
    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        return request_struct_class(self._topics, False, False, True)  # noqa: FBT003 - the order of the protocol


class _GroupsStruct(DescribeGroupsRequest_v3):
    """aiokafka 0.14 reads the answer to version 3 as if it were of version 2, and loses what is allowed."""

    RESPONSE_TYPE = DescribeGroupsResponse_v3


class _GroupsRequest(Request[_GroupsStruct]):
    API_KEY = 15

    def __init__(self, groups: list[str]) -> None:
        self._groups = groups

    def build(self, request_struct_class: type[_GroupsStruct]) -> _GroupsStruct:
        return request_struct_class(self._groups, True)  # noqa: FBT003 - the order of the protocol


async def permits(
    connection: Connection, topics: Iterable[str], groups: Iterable[str] = ()
) -> dict[str, frozenset[Operation] | None]:
    """Return what this client may do with each topic and consumer group, by full name; None: there is no such topic, as far as
    the client may know. Raises what the client raises where the broker is away or refuses.
    """
    async with asking(connection) as admin:
        answer: Any = await admin._send_request(_MetadataRequest(sorted(topics)))  # noqa: SLF001 - no public call
        found = {
            name: None if code == UNKNOWN_TOPIC else _operations(bits) for code, name, _internal, _parts, bits in answer.topics
        }
        for group in groups:
            found[group] = await _with_group(admin, group)
        return found


async def _with_group(admin: AIOKafkaAdminClient, group: str) -> frozenset[Operation]:
    async with asyncio.timeout(COORDINATOR_WITHIN_S):
        while True:
            try:
                node = await admin.find_coordinator(group)
                answer = await admin._send_request(_GroupsRequest([group]), node)  # noqa: SLF001 - no public call
            except GroupAuthorizationFailedError:
                return frozenset()
            except GroupCoordinatorNotAvailableError:
                pass
            else:
                ((code, *_, bits),) = answer.groups
                if for_code(code) not in NOT_YET:
                    return _operations(bits)
            # The first question of all makes the topic of the groups, which then is loaded.
            await asyncio.sleep(0.1)


def _operations(bits: int) -> frozenset[Operation]:
    # Where the broker does not tell, the number is the least there is: no bit but that of the sign.
    return frozenset(one for number, one in OPERATIONS.items() if bits & (1 << number))
