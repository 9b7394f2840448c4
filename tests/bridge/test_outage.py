"""A broker that goes away: the bridge goes on with it, and what processes counted meanwhile is made good."""

import asyncio
import time

import pytest
from tests.bridge.fleet import StockService
from tests.bridge.kit import Rows, bridge, settled, total, until
from tests.otlp.stock import CUMULATIVE, EXPLICIT

from tidegate.broker import Connection, KafkaLog, create_topics

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

AWAY_S = 8


async def test_what_is_counted_while_the_broker_is_away_comes_with_the_first_export_after_it(private_kafka, tmp_path, say):
    connection = Connection(private_kafka.bootstrap, "away.")
    await create_topics(connection)
    log = KafkaLog(connection, client_id="test")
    await log.start()
    rows = Rows(log)
    async with bridge(connection, tmp_path) as one:
        service = StockService(one.url, "shop", CUMULATIVE, EXPLICIT)

        async def serve(seconds: float) -> None:
            until_s = time.monotonic() + seconds
            while time.monotonic() < until_s:
                service.serve(10)
                await asyncio.sleep(0.1)

        await serve(4)
        await private_kafka.kill()
        await serve(AWAY_S)
        await private_kafka.start()
        began_s = time.monotonic()
        sent = one.told("rows_total")
        await until(lambda: _more(one, sent, service), "rows after the outage")
        back_s = time.monotonic() - began_s
        await serve(4)
        await service.stop()
        await settled(rows)
        mine = rows.of("shop")
        seconds = {row.seq for row in mine}
        missed = max(seconds) - min(seconds) + 1 - len(seconds)
        say(
            f"broker killed for {AWAY_S} s: rows again {back_s:.1f} s after its start; {service.requests} requests, "
            f"{total(mine)} in rows, {missed} seconds without"
        )
        # Rows of two seconds may have been under way.
        assert service.requests - 2 * 110 <= total(mine) <= service.requests
        await rows.close()
    await log.close()


async def _more(one, sent: float, service) -> bool:
    service.serve(10)
    await asyncio.sleep(0.05)
    return one.told("rows_total") >= sent + 3
