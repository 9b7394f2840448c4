"""Both workers on a real broker, as processes that get killed."""

import asyncio
from collections import defaultdict

import pytest
from tests.worker.fleet import Fleet, kpis_until, workers

pytestmark = pytest.mark.kafka


async def test_kpis_are_a_direct_computation_over_restart_and_kill_9_of_both_roles(connection, log, say):
    """Every row counts once, and a second that is written again is written alike, whatever dies at whatever moment."""
    fleet = Fleet(log)
    async with workers(connection) as both:
        running = asyncio.create_task(fleet.run(16))
        await kpis_until(log, 0)  # both are at work: before, a signal would find nobody to take it
        assert await both["judge"].stop() == 0
        await both["judge"].start()
        await asyncio.sleep(3)
        await both["judge"].kill()
        await both["judge"].start()
        await asyncio.sleep(3)
        await both["intake"].kill()
        await both["intake"].start()
        await running
        found = [kpi for _, kpi in await kpis_until(log, (fleet.seconds[-1] + 1) * 1000)]
        assert await both["judge"].stop() == 0
        assert await both["intake"].stop() == 0
    assert fleet.differences(found) == []
    texts = defaultdict(set)
    for kpi in found:
        texts[kpi["id"]].add(repr(kpi))
    assert [told for told in texts.values() if len(told) > 1] == []
    say(f"{len(texts)} KPI records, {len(found) - len(texts)} of them twice, over 3 lives lost")
