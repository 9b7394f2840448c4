"""librdkafka's mock cluster, from the confluent-kafka wheel: a broker for a first look where there is no Java.

Its interface is hidden and may change with any release, so all of it stays in this file. It has no compaction, no
retention by time, no CreateTopics, and
serves one member per consumer group.
"""

import ctypes
import glob
from pathlib import Path

from tidegate.wire.topics import TOPICS

ERROR_BYTES = 512
RD_KAFKA_PRODUCER = 0
PREFIX = "tidegate."


class MockMissing(Exception):
    """confluent-kafka is not installed, or its library has no mock cluster."""


class MockBroker:
    """A mock cluster of one broker, with every topic of the table under the default prefix."""

    def __init__(self) -> None:
        library = self._library = _load()
        error = ctypes.create_string_buffer(ERROR_BYTES)
        conf = library.rd_kafka_conf_new()
        # It would warn that the producer behind the mock has no broker to talk to.
        library.rd_kafka_conf_set(conf, b"log_level", b"4", error, ERROR_BYTES)
        self._client = library.rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, ERROR_BYTES)
        if not self._client:
            raise MockMissing(error.value.decode(errors="replace"))
        self._cluster = library.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            raise MockMissing("librdkafka made no mock cluster")
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        for topic in TOPICS:
            library.rd_kafka_mock_topic_create(self._cluster, f"{PREFIX}{topic.name}".encode(), topic.partitions, 1)
        self.bootstrap: str = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    async def stop(self) -> None:
        """Destroy the cluster and all that was in it."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


def _load() -> ctypes.CDLL:
    try:
        import confluent_kafka  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MockMissing("install it with: pip install 'tidegate[quickstart]'") from error
    package = Path(confluent_kafka.__file__).parent
    found = glob.glob(str(package.parent / "confluent_kafka.libs" / "librdkafka*.so*"))  # noqa: PTH207 - a pattern over two names
    if not found:
        raise MockMissing("the confluent-kafka wheel holds no librdkafka")
    library = ctypes.CDLL(found[0])
    try:
        library.rd_kafka_conf_new.restype = ctypes.c_void_p
        library.rd_kafka_conf_set.argtypes = [ctypes.c_void_p, *[ctypes.c_char_p] * 3, ctypes.c_size_t]
        library.rd_kafka_new.restype = ctypes.c_void_p
        library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        library.rd_kafka_destroy.argtypes = [ctypes.c_void_p]
        library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
        library.rd_kafka_mock_cluster_destroy.argtypes = [ctypes.c_void_p]
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
        library.rd_kafka_mock_topic_create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
        library.rd_kafka_mock_group_initial_rebalance_delay_ms.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    except AttributeError as error:
        raise MockMissing(f"this librdkafka has no mock cluster: {error}") from error
    return library
