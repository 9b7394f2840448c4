"""The verifier as a process of its own: ``verifier FOLDER BOOTSTRAP PREFIX``. Reads the log from its beginning while all
goes on; when its input ends, reads it once more, judges, prints the judgement as JSON and ends.

Its consumer is librdkafka's, the product's is aiokafka: a fault of one client is not hidden by the same fault of the other.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from tests.scenarios.kills.evidence import TOPICS, Deed, Evidence, Line, Run, lines_of, living, trust_in
from tests.scenarios.kills.verify import summary, verify

END_WITHIN_S = 120.0


def consumer(bootstrap: str, prefix: str) -> Consumer:
    """Return a plain consumer of every record: no group is joined, nothing is committed."""
    found = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "verifier",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "reconnect.backoff.max.ms": 500,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
    )
    found.assign([TopicPartition(prefix + topic, 0, 0) for topic in TOPICS])
    return found


def lines(source: Consumer, prefix: str) -> Iterator[Line | None]:
    """Yield records as they come, None where none comes for a moment. A broker that is away is waited for."""
    while True:
        message = source.poll(0.2)
        if message is None or message.error() is not None:
            if message is not None and message.error().code() == KafkaError.OFFSET_OUT_OF_RANGE:
                raise RuntimeError(f"the log has gone backwards: {message.error()}")
            yield None
            continue
        at_ms = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000
        topic, key = str(message.topic()).removeprefix(prefix), (message.key() or b"").decode()
        yield Line(topic, int(message.offset() or 0), key, message.value() or b"", at_ms)


def follow(source: Consumer, prefix: str, over: Event) -> list[Line]:
    """Return all records until ``over``."""
    found: list[Line] = []
    for line in lines(source, prefix):
        if line is not None:
            found.append(line)
        elif over.is_set():
            return found
    return found


def read_again(bootstrap: str, prefix: str) -> list[Line]:
    """Return all records up to the ends of now."""
    source = consumer(bootstrap, prefix)
    deadline_s = time.monotonic() + END_WITHIN_S
    ends = {topic: _end(source, TopicPartition(prefix + topic, 0), deadline_s) for topic in TOPICS}
    found: list[Line] = []
    for line in lines(source, prefix):
        if line is not None:
            found.append(line)
            continue
        at = {one.topic.removeprefix(prefix): one.offset for one in source.position(source.assignment())}
        if all(at[topic] >= end or not end for topic, end in ends.items()):
            break
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"the log cannot be read to its end: {at} of {ends}")
    source.close()
    return found


def _end(source: Consumer, partition: TopicPartition, deadline_s: float) -> int:
    """Return where a partition ends; a broker that was killed does not lead it again at once."""
    while True:
        try:
            return int(source.get_watermark_offsets(partition, timeout=10)[1])
        except KafkaException:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.5)


def main(folder: Path, bootstrap: str, prefix: str) -> None:
    over = Event()
    Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    source = consumer(bootstrap, prefix)
    seen = follow(source, prefix, over)
    source.close()
    runs = lines_of(folder / "runs", Run)
    evidence = Evidence(
        trust=trust_in(folder / "home" / "keys"),
        seen=tuple(seen),
        again=tuple(read_again(bootstrap, prefix)),
        runs=tuple(runs),
        story=tuple(lines_of(folder / "story", Deed)),
        alive=living(runs),
    )
    sys.stdout.write(json.dumps(summary(verify(evidence))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
