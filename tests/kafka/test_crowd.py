"""Many node agents and an outage of the broker, small enough for the suite; the proof ``nodes`` is the large one."""

import pytest
from tests.prove.nodes import fleet_on, latencies

pytestmark = pytest.mark.kafka
NODES = 30
AWAY_S = 8.0


async def test_a_rollout_over_many_nodes_outlives_its_broker(tmp_path, say):
    async with fleet_on(tmp_path, NODES, 1, 2.0) as fleet:
        await fleet.install()
        took = latencies(await fleet.release("v2"))
        outage = await fleet.outage("v3", AWAY_S, "20%")
    say(
        f"{NODES} nodes: from decision to applied {took}; broker away for {outage['away_s']} s in a rollout: all heard "
        f"{outage['all_heard_s']} s after its return, {outage['connects']} connections, {outage['acknowledged']} records kept"
    )
    assert outage["changes_while_away"] == 0
    assert outage["acknowledged_lost"] == 0
    # One each, one for a fetch of those who are back for long; the decision agent, the starter of the broker and this test more.
    assert outage["connects"] <= 2 * NODES + 40
