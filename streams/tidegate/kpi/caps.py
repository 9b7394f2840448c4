"""Cardinality: how many names of each kind one partition keeps, and who may bring them.

| cap | most | why | what exceeds it |
|---|---|---|---|
| ``services_per_node`` | 128 | three times what 500 services on each of four hosts come to | overflow |
| ``boots_per_node`` | 512 | 128 services with their agents' rows, and restarts within a minute | overflow |
| ``nodes_per_service`` | 20,000 | twice the largest fleet that is measured | overflow |
| ``services`` | 2,000 | 24,000 in all; a second of each is 2,000 panes | overflow |
| ``boots`` | 100,000 | about 30 MB of memory, 5 MB of checkpoint | overflow |
| ``metrics_per_node`` | 192 | what one row can carry: 64 gauges, 64 counters, 64 ratios | ``other`` |
| ``metrics_per_service`` | 512 | each is a column of every KPI of it, in every window | ``other`` |
| ``variants_per_service`` | 64 | of flags that are judged: each is three KPI records, one of them a second | ``other`` |

All are of one partition of ``nodeseconds``, of which there are 12; nothing is known of the others. A name that has not been said
for a while makes room: boots, and with them nodes and services, after a minute, metrics after ten.

*Overflow* is a service of its own, one for each partition (``overflow_of``), with one node: rows, requests, errors and latency of
what exceeds a cap add up there, like OpenTelemetry's ``otel.metric.overflow``, so that nothing vanishes from a sum over services.
Its rows are not deduplicated, as nothing is kept of their senders. Counters and ratios beyond their cap add up under the name
``other``; gauges are left out: a mean of unlike things is none. Variants beyond theirs are judged like any, and have their KPIs
together, flag by flag. The alarm ``cardinality_exceeded`` names the cap and some names.

Who comes first stays, and one node can take no more than its own part: that is what ``services_per_node``, ``boots_per_node`` and
``metrics_per_node`` are for. What a running rollout's context names always has room: its service, the nodes of its cohorts, the
metrics of its guardrails. No table is keyed by version, label or slice: versions stand once for each node of a running rollout,
labels and slices only in rows that wait in open panes; of slices only those count that a flag's context names.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

from msgspec import Struct

from tidegate.kpi.membership import Members

SERVICES_PER_NODE_MAX = 128
BOOTS_PER_NODE_MAX = 512
NODES_PER_SERVICE_MAX = 20_000
SERVICES_MAX = 2_000
BOOTS_MAX = 100_000
METRICS_PER_NODE_MAX = 192
METRICS_PER_SERVICE_MAX = 512
VARIANTS_PER_SERVICE_MAX = 64
SAMPLE_MAX = 5
"""Names that an alarm shows."""

OVERFLOW = "tidegate.overflow-"
"""Begins the name of the services that hold what exceeds a cap; nobody's own service may be called so."""
OVERFLOW_NODE = "overflow"
OTHER = "other"


class Cap(StrEnum):
    """Which bound was met."""

    SERVICES_PER_NODE = "services_per_node"
    BOOTS_PER_NODE = "boots_per_node"
    NODES_PER_SERVICE = "nodes_per_service"
    SERVICES = "services"
    BOOTS = "boots"
    METRICS_PER_NODE = "metrics_per_node"
    METRICS_PER_SERVICE = "metrics_per_service"
    VARIANTS_PER_SERVICE = "variants_per_service"


Key = tuple[str, str, str]
"""(node, service, boot)."""
Refusal = tuple[Cap, str, str]
"""(cap, service that it is about or '' for the partition, name that had no room)."""


class Named(Struct, frozen=True):
    """What rollouts name, and has room whatever the caps say: services, and members of each service's cohorts."""

    services: Collection[str] = ()
    members: Mapping[str, Members] = {}


def overflow_of(partition: int) -> str:
    """Return the service that holds what exceeds the caps of a partition."""
    return f"{OVERFLOW}{partition}"


class Places:
    """Who is known: boots by node and service. Mutable; derived from the boots, so no part of a checkpoint."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[str, int]] = {}
        """Node to service to number of boots."""
        self._services: dict[str, int] = {}
        """Service to number of nodes."""
        self._boots = 0

    def add(self, key: Key) -> None:
        """Take a boot."""
        node, service, _ = key
        services = self._nodes.setdefault(node, {})
        if service not in services:
            self._services[service] = self._services.get(service, 0) + 1
        services[service] = services.get(service, 0) + 1
        self._boots += 1

    def remove(self, key: Key) -> None:
        """Let a boot go, and with the last one its service and node."""
        node, service, _ = key
        services = self._nodes[node]
        self._boots -= 1
        services[service] -= 1
        if not services[service]:
            del services[service]
            self._services[service] -= 1
            if not self._services[service]:
                del self._services[service]
            if not services:
                del self._nodes[node]

    def refusal(self, key: Key, named: Named) -> Refusal | None:
        """Return why a new boot has no room, or None where it has."""
        node, service, _ = key
        services = self._nodes.get(node, {})
        if service.startswith(OVERFLOW):
            return Cap.SERVICES, "", service
        if sum(services.values()) >= BOOTS_PER_NODE_MAX:
            return Cap.BOOTS_PER_NODE, "", node
        members = named.members.get(service)
        if members is not None and node in members.cohorts:
            return None
        if self._boots >= BOOTS_MAX:
            return Cap.BOOTS, "", f"{node}/{service}"
        if service not in services and self._services.get(service, 0) >= NODES_PER_SERVICE_MAX:
            return Cap.NODES_PER_SERVICE, service, node
        if service in named.services or service in services:
            return None
        if len(services) >= SERVICES_PER_NODE_MAX:
            return Cap.SERVICES_PER_NODE, "", f"{node}/{service}"
        if service not in self._services and len(self._services) >= SERVICES_MAX:
            return Cap.SERVICES, "", service
        return None
