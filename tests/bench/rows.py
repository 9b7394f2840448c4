"""The load of the benchmark: a large fleet at one row a second and node, appended in real time, as clocks are judged."""

import random
import time

from confluent_kafka import Producer

from tidegate.wire.telemetry import Histogram, Telemetry, encode_json, encode_msgpack

NODES = 20_000
SERVICES = 20
BUCKETS = 64
TEMPLATES = 64


class Load:
    """Rows of ``NODES`` nodes in ``SERVICES`` services; what they add up to is known beforehand."""

    def __init__(self, bootstrap: str, topic: str, encoding: str, nodes: int = NODES) -> None:
        self._topic = topic
        self._encode = {"json": encode_json, "messagepack": encode_msgpack}[encoding]
        self._nodes = nodes
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 20,
                "compression.type": "zstd",
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        source = random.Random(7)
        self._counts = [[source.randint(0, 4) for _ in range(BUCKETS)] for _ in range(TEMPLATES)]
        self.rows = self.requests = self.errors = 0
        self.bytes = 0

    def second(self, seq: int, start_ms: int) -> None:
        """Send one row of every node for the second that begins at ``start_ms``."""
        for node in range(self._nodes):
            counts = self._counts[(node + seq) % TEMPLATES]
            requests = sum(counts)
            row = Telemetry(
                node=f"node-{node}",
                service=f"service-{node % SERVICES}",
                boot="boot",
                seq=seq,
                version="v1",
                start_ms=start_ms,
                requests=requests,
                errors=node % 2,
                latency=Histogram(-60, counts),
            )
            value = self._encode(row)
            self._producer.produce(self._topic, value, key=row.node)
            self.rows += 1
            self.requests += requests
            self.errors += node % 2
            self.bytes += len(value)
            if node % 1_000 == 0:
                self._producer.poll(0)

    def run(self, seconds: int) -> None:
        """Send some seconds in real time, each as soon as it is over."""
        for seq in range(1, seconds + 1):
            time.sleep(1.0 - time.time() % 1.0)
            self.second(seq, (int(time.time()) - 1) * 1000)
        self._producer.flush(60)
