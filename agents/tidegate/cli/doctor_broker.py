"""What the broker says: who is let in, its certificate, topics as the table has them and safely kept, the rights of each role."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tidegate.broker import Connection, check_topics, knock
from tidegate.broker.admin import asking
from tidegate.broker.connection import UNANSWERED, BrokerSilent
from tidegate.broker.permits import permits
from tidegate.cli.doctor_finding import Finding, note, problem, told, warning
from tidegate.cli.doctor_home import ends_of, expiry
from tidegate.runtime.addresses import addresses
from tidegate.wire.acls import GROUPS, Operation, Principal, Resource, rights
from tidegate.wire.topics import TOPICS

WITHIN_S = 5.0
REPLICAS_SAFE = 3
LOCAL = ("127.0.0.1", "localhost", "::1")
APPLY = "tidegate topics acl --apply, as a super user"

Permits = Mapping[str, frozenset[Operation] | None]


async def doors(where: Mapping[Principal, Connection], now_ms: int) -> tuple[list[Finding], list[Principal]]:
    """Return what is wrong with how each role comes in, and the roles that the broker lets in."""
    # One knock for all that come in alike: where nobody asks who is there, that is everybody.
    alike = {connection: role for role, connection in where.items()}
    said = dict(zip(alike, await asyncio.gather(*(knock(connection) for connection in alike)), strict=True))
    silent = [fault for fault in said.values() if isinstance(fault, BrokerSilent)]
    if silent:
        return [told("broker", silent[0])], []
    found = [told("broker", fault) for fault in said.values() if fault is not None]
    inside = [role for role, connection in where.items() if said[connection] is None]
    if inside:
        found += await _transport(where[inside[0]], now_ms)
    return found, inside


async def topic_findings(admin: Connection) -> list[Finding]:
    """Return how topics differ from the table, and which of them one broker's end would take away."""
    found = [problem("topics", one.what, one.remedy) for one in await check_topics(admin)]
    names = {f"{admin.prefix}{topic.name}" for topic in TOPICS}
    async with asking(admin) as client:
        brokers = len((await client.describe_cluster())["brokers"])
        described = await client.describe_topics(sorted(names & set(await client.list_topics())))
    return [*found, *kept_safely(described, brokers)]


def kept_safely(described: Iterable[Mapping[str, Any]], brokers: int) -> list[Finding]:
    """Return which topics have no leader, too few replicas for a cluster of so many brokers, or replicas that lag."""
    dead, few, behind = [], [], []
    for topic in described:
        name, partitions = str(topic["topic"]), topic["partitions"]
        if any(partition["leader"] < 0 for partition in partitions):
            dead.append(name)
        if min(len(partition["replicas"]) for partition in partitions) < min(brokers, REPLICAS_SAFE):
            few.append(name)
        if any(len(partition["isr"]) < len(partition["replicas"]) for partition in partitions):
            behind.append(name)
    found = []
    if dead:
        found.append(problem("topics", f"no broker leads {', '.join(dead)}", "bring back the broker that held them"))
    if few:
        what = f"{', '.join(few)}: fewer than {min(brokers, REPLICAS_SAFE)} replicas on {brokers} brokers"
        found.append(warning("topics", what, "spread them with kafka-reassign-partitions"))
    if behind:
        found.append(warning("topics", f"{', '.join(behind)}: replicas lag or are away", "see whether all brokers run"))
    return found


async def rights_findings(where: Mapping[Principal, Connection]) -> list[Finding]:
    """Return what roles may not do and must, and what they may do and need not. Each user asks for itself; nothing is written."""
    users: dict[Connection, list[Principal]] = {}
    for role, connection in where.items():
        users.setdefault(connection, []).append(role)
    answers = await asyncio.gather(*(_asked(roles, connection) for connection, roles in users.items()))
    found: list[Finding] = []
    if all(everything(answer) for answer in answers if answer is not None):
        # Without users everybody is the same, and no right of one role says anything.
        return [] if all(one.access.sasl is None for one in users) else [_no_authorizer()]
    for (connection, roles), answer in zip(users.items(), answers, strict=True):
        if answer is None:
            found.append(note("rights", f"the broker did not tell what {connection.access.principal} may do", "run it again"))
        elif not everything(answer):
            found += judged(roles, connection, answer)
    return found


def judged(roles: Sequence[Principal], where: Connection, answer: Permits) -> list[Finding]:
    """Return how far what a user may do differs from what its roles take."""
    who, lacks, beyond = f"{where.access.principal} ({', '.join(roles)})", [], []
    for name, may in answer.items():
        needs = frozenset[Operation]().union(*(needed(role, name, where.prefix) for role in roles))
        if may is None:
            continue  # it is missing, which is told of topics
        if lost := sorted(needs - may):
            lacks.append(f"{' and '.join(lost)} {name}")
        if more := sorted((may & {Operation.READ, Operation.WRITE}) - needs):
            beyond.append(f"{' and '.join(more)} {name}")
    found = []
    if lacks:
        found.append(problem("rights", f"{who} may not {', '.join(lacks)}", APPLY))
    if beyond:
        found.append(warning("rights", f"{who} may {', '.join(beyond)}, and need not", f"{APPLY}, with --prune"))
    return found


def needed(role: Principal, name: str, prefix: str) -> frozenset[Operation]:
    """Return what a role's work takes of one topic or group."""
    return frozenset(
        right.operation
        for right in rights(role, prefix)
        if right.resource is not Resource.CLUSTER and (name.startswith(right.name) if right.prefixed else name == right.name)
        if right.resource is (Resource.GROUP if name in _groups(prefix) else Resource.TOPIC)
    )


def everything(answer: Permits) -> bool:
    """Return whether a client may read and write wherever there is something."""
    there = [may for may in answer.values() if may is not None]
    return bool(there) and all(Operation.READ in may for may in there)


async def _asked(roles: Sequence[Principal], connection: Connection) -> Permits | None:
    topics = [f"{connection.prefix}{topic.name}" for topic in TOPICS]
    groups = _groups(connection.prefix) if {*GROUPS, "admin"} & {*roles} else ()
    try:
        async with asyncio.timeout(3 * WITHIN_S):
            return await permits(connection, topics, groups)
    except UNANSWERED:
        return None


def _groups(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{group}" for group in GROUPS)


def _no_authorizer() -> Finding:
    return warning(
        "rights",
        "the broker lets every role do everything: it has no authorizer, or they are super users",
        "set authorizer.class.name and super.users on it, then: tidegate topics acl --apply; docs/security.md",
    )


async def _transport(where: Connection, now_ms: int) -> list[Finding]:
    """Return what is wrong with the way to the broker itself: plain text over a network, a certificate near its end."""
    found: list[Finding] = []
    for address, host, port in addresses(where.bootstrap):
        if where.access.tls is None:
            if host not in LOCAL:
                what = f"{address} is spoken to in plain text: whoever is on the way reads and writes"
                found.append(warning("broker", what, "open a listener with TLS there, and set kafka.tls; docs/security.md"))
            continue
        context = where.arguments()["ssl_context"]
        try:
            async with asyncio.timeout(WITHIN_S):
                _, writer = await asyncio.open_connection(host, port, ssl=context)
        except (OSError, TimeoutError):
            continue  # another address of the same cluster let us in
        ends = ends_of(writer.get_extra_info("ssl_object"))
        writer.close()
        found += expiry(f"the certificate of the broker at {address}", ends, now_ms, "renew it on the broker")
    return found
