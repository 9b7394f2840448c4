"""Reading alone: aiokafka's ``getmany`` and the decoder, without Faust or folding: the floor of everything in Python."""

import asyncio
import sys
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from tidegate.wire.telemetry import decode


async def main(bootstrap: str, topic: str, progress: str) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, partition) for partition in range(12)])
    done = requests = errors = 0
    while True:
        for records in (await consumer.getmany(timeout_ms=200, max_records=5_000)).values():
            for record in records:
                row = decode(record.value)
                requests += row.requests
                errors += row.errors
            done += len(records)
        Path(progress).write_text(f"{done} {requests} {errors}")  # noqa: ASYNC240


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
