"""A service without an SDK, on real Kafka: started and swapped by the agent, scraped, its rows in ``telemetry``."""

import asyncio
from pathlib import Path

import pytest
from tests.node.kit import Author, Load, config_of, free_port, made, node_signer, request

from tidegate.node import NodeAgent, ProcessExecutor
from tidegate.node.config import ServiceConfig
from tidegate.node.scrape.config import ScrapeConfig
from tidegate.ports import SystemClock, SystemDisk
from tidegate.wire.telemetry import Source, decode

SERVICE = str(Path(__file__).with_name("scraped.py"))


class Seen:
    """The scraped rows of ``telemetry``."""

    def __init__(self, reader) -> None:
        self._reader = reader
        self.rows = []

    async def until(self, condition, what: str) -> None:
        async with asyncio.timeout(30):
            while not condition():
                found = [decode(record.value) for record in await self._reader.poll(0.5)]
                self.rows += [row for row in found if row.source is Source.SCRAPE]
        assert condition(), what

    def of(self, version: str):
        return [row for row in self.rows if row.version == version]

    def total(self, version: str, name: str = "requests") -> int:
        return sum(getattr(row, name) for row in self.of(version))


@pytest.mark.kafka
async def test_a_service_without_an_sdk_is_counted_right_and_no_row_straddles_a_swap(log, tmp_path):
    port, clock = free_port(), SystemClock()
    command = ("{python}", SERVICE, "{artifact}")
    shop = ServiceConfig(command=command, listen=f"127.0.0.1:{port}", drain="5s", scrape=ScrapeConfig())
    config = config_of(tmp_path, shop=shop)
    disk, author = SystemDisk(Path(config.state)), Author(log)
    agent = NodeAgent(
        log,
        clock,
        disk,
        {"process": ProcessExecutor(config, disk, clock)},
        config=config,
        signer=node_signer(),
        trust=author.trust,
        boot="life",
    )
    one, two = made(tmp_path, "1"), made(tmp_path, "2")
    reader = await log.reader(["telemetry"])
    seen = Seen(reader)
    await author.claim()
    await author.start(one, None, "r0")
    await author.settle()
    run = asyncio.ensure_future(agent.run())
    try:
        await seen.until(lambda: seen.of("1"), "the first row")
        for _ in range(20):
            await asyncio.gather(*(request(port) for _ in range(5)), fail(port))
        await seen.until(lambda: seen.total("1") >= 120, "all requests")
        assert (seen.total("1"), seen.total("1", "errors")) == (120, 20)
        assert sum(sum(row.latency.values()) for row in seen.of("1") if row.latency is not None) == 120

        load = Load(port, 2)
        await seen.until(lambda: seen.total("1") > 120, "rows of the load")
        await author.start(two, one, "r1")
        await author.settle()
        await seen.until(lambda: len(seen.of("2")) >= 3, "rows of the new version")
        await load.stop()
        last = seen.rows[-1].seq
        await seen.until(lambda: seen.rows[-1].seq >= last + 2, "the rows behind the load")
    finally:
        await agent.stop(stop_services=True)
        await run
        await reader.close()
    assert load.lost == []
    # What either version answered between its own two pages, and nothing of the other.
    first, second = load.answers.count("1"), load.answers.count("2")
    assert 120 < seen.total("1") <= 120 + first
    assert second / 4 < seen.total("2") <= second
    assert sorted({(row.version, row.boot) for row in seen.rows}) == [("1", "life-1.scrape.life"), ("2", "life-2.scrape.life")]
    for version in ("1", "2"):
        assert [row.seq for row in seen.of(version)] == [*range(1, len(seen.of(version)) + 1)]
    assert agent.figures().scrape_rows_dropped == 0


async def fail(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /fail HTTP/1.1\r\n\r\n")
    assert b" 500 " in await reader.read()
    writer.close()
