"""The same job as a stock Faust agent does it: ``faust.Record``, ``async for``, windows of 1, 10 and 60 s per service."""

import sys
from collections import defaultdict
from pathlib import Path

import faust


class Latency(faust.Record, serializer="json"):
    offset: int
    counts: list[int]


class Row(faust.Record, serializer="json"):
    node: str
    service: str
    boot: str
    seq: int
    version: str
    start_ms: int
    requests: int = 0
    errors: int = 0
    latency: Latency | None = None


class Sum:
    __slots__ = ("counts", "errors", "requests")

    def __init__(self) -> None:
        self.requests = self.errors = 0
        self.counts = [0] * 160


def main(bootstrap: str, topic: str, progress: str) -> None:
    app = faust.App(
        f"stock-{topic}",
        broker=f"kafka://{bootstrap}",
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
    )
    sums: dict[tuple[str, int, int], Sum] = defaultdict(Sum)
    done = 0

    @app.agent(app.topic(topic, value_type=Row), name="stock")
    async def fold(rows):
        nonlocal done
        async for row in rows:
            second = row.start_ms // 1000
            for length in (1, 10, 60):
                total = sums[row.service, length, second // length * length]
                total.requests += row.requests
                total.errors += row.errors
                counts, first = total.counts, row.latency.offset + 80
                for index, count in enumerate(row.latency.counts, first):
                    counts[index] += count
            done += 1
            if done % 500 == 0:
                ones = [total for (_, length, _), total in sums.items() if length == 1]
                said = f"{done} {sum(one.requests for one in ones)} {sum(one.errors for one in ones)}"
                Path(progress).write_text(said)  # noqa: ASYNC240 - the rate is read from it

    faust.Worker(app, loglevel="WARN").execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
