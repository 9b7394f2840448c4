"""The topic table: the one place that names a topic, its key, its partitions, how long it is kept, who writes and who
reads.

Creation, access lists and the published description derive from it. Partition counts are fixed at creation.
"""

from typing import Literal

from msgspec import Struct

Role = Literal[
    "service",
    "node",
    "intake",
    "judge",
    "experiment",
    "decide",
    "api",
    "notify",
    "bridge",
    "operator",
    "breakglass",
    "join",
]
"""Whoever talks to the broker under a name of its own. A root key has none: what it signed is published by an operator."""

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FOREVER_MS = -1
TELEMETRY_PARTITIONS = 12


class Topic(Struct, frozen=True, kw_only=True):
    """One topic. ``retention_ms`` of -1 keeps for ever; ``key`` is prose for people, the code that writes it is the
    truth.
    """

    name: str
    key: str
    partitions: int
    retention_ms: int = FOREVER_MS
    compacted: bool = False
    log_append_time: bool = False
    message_bytes_max: int = 1 << 20
    writers: tuple[Role, ...]
    readers: tuple[Role, ...]

    def config(self) -> dict[str, str]:
        """Return the broker's settings of this topic."""
        settings = {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": str(self.retention_ms),
            "retention.bytes": "-1",  # or the cluster's own limit takes away what is kept for ever
            "message.timestamp.type": "LogAppendTime" if self.log_append_time else "CreateTime",
            "max.message.bytes": str(self.message_bytes_max),
        }
        if self.compacted:
            # A late zombie may evict a good record; the sooner the log is clean, the sooner that is seen and mended.
            settings |= {"min.cleanable.dirty.ratio": "0.1", "delete.retention.ms": str(7 * DAY_MS)}
        return settings


_CONTROL: tuple[Role, ...] = ("api", "operator")

TOPICS: tuple[Topic, ...] = (
    Topic(
        name="telemetry",
        key="node",
        partitions=TELEMETRY_PARTITIONS,
        retention_ms=DAY_MS,
        log_append_time=True,
        writers=("service", "node", "bridge"),
        readers=("intake",),
    ),
    Topic(
        name="otlp",
        key="node",
        partitions=4,
        retention_ms=HOUR_MS,
        log_append_time=True,
        message_bytes_max=4 << 20,
        writers=("bridge",),
        readers=("bridge",),
    ),
    Topic(
        name="nodeseconds",
        key="none; partition = murmur2(service) mod 12",
        partitions=12,
        retention_ms=DAY_MS,
        log_append_time=True,
        message_bytes_max=8 << 20,
        writers=("intake", "decide"),
        # An operator sees how far it goes, which says whether a checkpoint is of this topic.
        readers=("judge", "operator"),
    ),
    Topic(name="kpis", key="service", partitions=12, retention_ms=7 * DAY_MS, writers=("judge",), readers=("api", "operator")),
    Topic(name="scores", key="service", partitions=12, retention_ms=7 * DAY_MS, writers=("judge",), readers=("api", "operator")),
    Topic(
        name="checkpoints",
        key="role/partition",
        partitions=12,
        compacted=True,
        message_bytes_max=16 << 20,
        writers=("judge", "experiment"),
        readers=("judge", "experiment", "operator"),
    ),
    Topic(
        name="verdicts",
        key="subject",
        partitions=1,
        retention_ms=30 * DAY_MS,
        log_append_time=True,
        writers=("judge",),
        readers=("decide", *_CONTROL),
    ),
    Topic(
        name="exposures",
        key="hash of the targeting key",
        partitions=12,
        retention_ms=DAY_MS,
        log_append_time=True,
        writers=("service",),
        readers=("experiment",),
    ),
    Topic(
        name="experiments",
        key="experiment/partition",
        partitions=1,
        compacted=True,
        writers=("experiment",),
        readers=("experiment", *_CONTROL),
    ),
    Topic(
        name="plans",
        key="subject; group/<name>; policy/<name>",
        partitions=1,
        log_append_time=True,
        writers=("operator", "api"),
        readers=("decide", *_CONTROL),
    ),
    Topic(
        name="intents",
        key="subject",
        partitions=1,
        log_append_time=True,
        writers=("api", "operator", "notify"),
        readers=("decide", *_CONTROL),
    ),
    Topic(
        name="decisions",
        key="subject",
        partitions=1,
        log_append_time=True,
        message_bytes_max=4 << 20,
        writers=("decide",),
        readers=("decide", "notify", *_CONTROL),
    ),
    Topic(
        name="desired",
        key="subject; plan/<subject>; roster/<subject>; claim/<epoch>/<agent life>; breakglass/<subject>; heartbeat",
        partitions=1,
        compacted=True,
        log_append_time=True,
        message_bytes_max=4 << 20,
        writers=("decide", "breakglass"),
        readers=("node", "decide", "breakglass", "notify", *_CONTROL),
    ),
    Topic(
        name="keys",
        key="root version; node id; token/<id>; node id/<fingerprint of its key> where a token enrolled it",
        partitions=1,
        compacted=True,
        log_append_time=True,
        writers=("operator", "join", "decide"),
        readers=("node", "decide", "service", "breakglass", "join", "notify", *_CONTROL),
    ),
    Topic(
        name="reports",
        key="node",
        partitions=4,
        compacted=True,
        log_append_time=True,
        writers=("node",),
        readers=("decide", *_CONTROL),
    ),
    Topic(
        name="flags",
        key="set/flag",
        partitions=1,
        compacted=True,
        log_append_time=True,
        writers=("decide",),
        readers=("service", "node", "decide", *_CONTROL),
    ),
    Topic(
        name="alarms",
        key="writer/alarm id",
        partitions=1,
        compacted=True,
        log_append_time=True,
        writers=("judge", "decide", "api", "experiment"),
        readers=("decide", "judge", "experiment", "notify", *_CONTROL),
    ),
    Topic(
        name="deadletters",
        key="source",
        partitions=1,
        retention_ms=14 * DAY_MS,
        writers=("intake", "judge", "decide", "experiment", "bridge"),
        readers=("operator",),
    ),
)

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
