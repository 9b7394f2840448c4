"""Everything at once, on real Kafka and in real processes, while parts of it are killed.

The scenarios share one system and follow one another: what happened in one is history to the next. Each also runs alone.
"""

import signal
import time
from collections import Counter

import pytest
import pytest_asyncio

from tidegate.rollout.ledger import rebuild
from tidegate.wire.codec import decode
from tidegate.wire.decisions import Decision, DecisionKind, Result
from tidegate.wire.judgement import Verdict

pytestmark = [pytest.mark.kafka, pytest.mark.scenario, pytest.mark.asyncio(loop_scope="module")]

WITHIN_S = 60


def plan(bake_s: int = 2) -> dict[str, object]:
    """One node and its control, then the other three one by one."""
    return {
        "stages": [
            {"setNodes": 1, "bake": f"{bake_s}s", "minRequests": 50},
            {"setWeight": 100, "bake": "2s", "minRequests": 100},
        ],
        "guardrails": [{"metric": "errorRatio", "max": 0.02, "of": "2/3", "minRequests": 20}],
        "maxUnavailable": "1",
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def undisturbed(system) -> list[str]:
    """The records of a release that nothing happens to."""
    await system.roll_out(system.artifact("v2"), plan())
    await system.until(lambda: system.result is not None, WITHIN_S, "the end of a release that nothing happens to")
    assert system.result is Result.PROMOTED
    return system.kinds()


def once_each(system) -> Counter[str]:
    return Counter(system.nodes)


async def test_kill_9_of_the_author_in_the_middle_of_a_stage_leaves_no_trace_in_the_rollout(system, undisturbed, say):
    failed, old = system.load.failed, system.settled
    before = system.starts(old)
    await system.roll_out(system.artifact("v3", start_s=0.5), plan())
    await system.until(lambda: system.count(DecisionKind.RELEASE) == 3, WITHIN_S, "the first batch of the last stage")
    killed_ms = system.send(signal.SIGKILL, await system.leader())
    await system.until(lambda: system.result is not None, WITHIN_S, "the end of the rollout")

    taken_ms = next(time_ms for time_ms, one in system.decisions if one.kind is DecisionKind.TAKEOVER and time_ms > killed_ms)
    say(f"another leads {(taken_ms - killed_ms) / 1000:.1f} s after kill -9; {system.load.failed - failed} requests lost")
    assert system.result is Result.PROMOTED
    assert system.kinds() == undisturbed
    assert system.starts("v3") == once_each(system)
    assert system.starts(old) - before == once_each(system), "the control restarted, on the others it was seen to start"
    assert taken_ms - killed_ms <= 15_000
    assert system.load.failed == failed


async def test_an_author_that_slept_wakes_to_find_another_and_writes_nothing(system, undisturbed, say):
    failed = system.load.failed
    await system.roll_out(system.artifact("v4", start_s=0.5), plan())
    await system.until(lambda: system.count(DecisionKind.RELEASE) == 3, WITHIN_S, "the first batch of the last stage")
    sleeper = await system.leader()
    log = system.logs / f"{sleeper}.log"
    before = log.read_text().count("another one leads")
    system.send(signal.SIGSTOP, sleeper)
    epochs = system.epochs
    await system.until(lambda: system.epochs > epochs, 30, "a takeover")
    system.send(signal.SIGCONT, sleeper)
    await system.until(lambda: log.read_text().count("another one leads") > before, 15, "the sleeper standing by")
    await system.until(lambda: system.result is not None, WITHIN_S, "the end of the rollout")

    say(
        f"epoch {epochs[-1]} slept, {system.epochs[-1]} ended the rollout; {system.load.failed - failed} requests lost",
    )
    assert system.result is Result.PROMOTED
    assert len(system.epochs) == len(epochs) + 1
    assert system.kinds() == undisturbed
    assert system.starts("v4") == once_each(system)
    assert system.load.failed == failed


async def test_kill_9_of_a_node_agent_in_the_middle_of_a_swap_loses_no_request_and_leaves_one_copy(system, undisturbed, say):
    failed, old = system.load.failed, system.settled
    before = system.starts(old)
    await system.roll_out(system.artifact("v5", start_s=1.5), plan())
    await system.until(lambda: bool(system.starts("v5")), WITHIN_S, "the start of v5 on its first node")
    (node,) = system.starts("v5")
    swapping = system.processes(node)
    killed_ms = system.send(signal.SIGKILL, f"node-{node}")
    await system.until(lambda: system.result is not None, WITHIN_S, "the end of the rollout")

    back_ms = system.watch.reported_ms["v5"][node]
    copies = {node: len(system.processes(node)) for node in system.nodes}
    say(
        f"{node} ran {old} and began v5 when its agent was killed; v5 ready there {(back_ms - killed_ms) / 1000:.1f} s later; "
        f"{system.load.failed - failed} requests lost",
    )
    assert len(swapping) >= 2, "the old one and the new one; that which showed that the old one starts may still drain"
    assert system.result is Result.PROMOTED
    assert system.kinds() == undisturbed
    assert copies == dict.fromkeys(system.nodes, 1)
    assert system.starts("v5") == once_each(system) + Counter([node])
    assert system.starts(old) - before == once_each(system), "the control restarted, on the others it was seen to start"
    assert system.load.failed == failed


async def test_kill_9_of_intake_and_judge_during_a_bake_delays_and_changes_nothing(system, undisturbed, say):
    """The bake outlasts the outage by more than the 5 s that a verdict stays fresh (D4): it cannot end unseen."""
    failed = system.load.failed
    await system.roll_out(system.artifact("v6"), plan(bake_s=15))
    await system.until(lambda: system.count(DecisionKind.BAKE) == 1, WITHIN_S, "the first bake")
    bake_ms = system.decisions[-1][0]
    await system.until(lambda: system.healthy_seconds(bake_ms + 1_000) >= 1, WITHIN_S, "a whole second of the bake")
    killed_ms = system.send(signal.SIGKILL, "intake", "judge")
    await system.until(lambda: max(system.kpis.seconds) > killed_ms, WITHIN_S, "KPIs of a second after the kill")
    kpis_ms = min(at_ms for end_ms, at_ms in system.kpis.seen_ms.items() if end_ms > killed_ms)
    await system.until(lambda: system.result is not None, WITHIN_S, "the end of the rollout")

    first_ms = bake_ms // 1_000 * 1_000 + 2_000
    nodes = {end_ms: system.kpis.nodes(end_ms) for end_ms in range(first_ms, killed_ms + 5_000, 1_000)}
    say(
        f"KPIs go on {(kpis_ms - killed_ms) / 1000:.1f} s after kill -9 of both; nodes in the seconds around it: "
        f"{list(nodes.values())}",
    )
    assert system.result is Result.PROMOTED
    assert system.kinds() == undisturbed
    assert system.starts("v6") == once_each(system)
    assert kpis_ms - killed_ms <= 15_000
    assert set(nodes.values()) == {len(system.nodes)}
    assert system.load.failed == failed


@pytest.mark.parametrize("read", [False, True], ids=["before it has read it", "once it is recorded"])
async def test_a_fail_is_carried_out_once_although_the_author_is_killed(system, undisturbed, say, read):
    """The author stands still from the bake on and is killed at the verdict, or is killed at its own record of the rollback."""
    failed, epochs, old = system.load.failed, system.epochs, system.settled
    await system.roll_out(system.artifact(f"bad-{read:d}", error_ratio=0.08), plan(bake_s=30))
    await system.until(lambda: system.count(DecisionKind.BAKE) == 1, WITHIN_S, "the first bake")
    rollout, author = system.decisions[-1][1].state.rollout, await system.leader()
    if not read:
        system.send(signal.SIGSTOP, author)
    await system.until(lambda: system.watch.verdict_ms(rollout) is not None, WITHIN_S, "the fail")
    if read:
        await system.until(lambda: system.count(DecisionKind.ROLLBACK) == 1, WITHIN_S, "the record of the rollback")
    system.send(signal.SIGKILL, author)
    await system.until(lambda: system.result is not None, WITHIN_S, "the end of the rollback")

    verdict_ms = system.watch.verdict_ms(rollout)
    command_ms = system.watch.retreat(verdict_ms).at_ms
    back_ms = system.watch.back_ms(old, verdict_ms)
    say(
        f"after the verdict: command {(command_ms - verdict_ms) / 1000:.1f} s, all nodes back "
        f"{(back_ms - verdict_ms) / 1000:.1f} s; {system.load.failed - failed} requests lost",
    )
    assert system.result is Result.ROLLED_BACK
    assert len(system.epochs) == len(epochs) + 1
    assert system.count(DecisionKind.ROLLBACK) == system.count(DecisionKind.RETURNED) == 1
    assert back_ms - verdict_ms <= 15_000
    assert system.load.failed == failed


async def test_a_broker_that_dies_during_a_bake_and_comes_back_costs_no_request_and_moves_nothing_wrongly(
    system, undisturbed, broker, say
):
    failed = system.load.failed
    await system.roll_out(system.artifact("v7"), plan(bake_s=6))
    await system.until(lambda: system.count(DecisionKind.BAKE) == 1, WITHIN_S, "the first bake")
    began_s = time.monotonic()
    await broker.kill()
    sent = system.load.sent
    await system.until(lambda: system.load.sent > sent + 800, WITHIN_S, "requests while there is no broker")
    await broker.start()
    away_s, meanwhile = time.monotonic() - began_s, system.load.sent - sent
    await system.until(lambda: system.result is not None, 2 * WITHIN_S, "the end of the rollout")

    say(
        f"no broker for {away_s:.1f} s and {meanwhile} requests; {system.load.failed - failed} lost; then "
        f"{', '.join(system.kinds()[5:])}",
    )
    assert system.result is Result.PROMOTED
    assert system.kinds() == undisturbed
    assert system.starts("v7") == once_each(system)
    assert system.load.failed == failed


async def test_every_epoch_has_one_author_and_the_chain_of_all_that_was_decided_is_whole(system, undisturbed, say):
    reader = await system.log.reader(["decisions", "verdicts"])
    records = await reader.read_to_end()
    await reader.close()
    raw = [(one.offset, one.value) for one in records if one.topic == "decisions"]
    decisions = [decode(value, Decision) for _, value in raw]
    ledger = rebuild(raw)

    taken = [one for one in decisions if one.kind is DecisionKind.TAKEOVER]
    epochs = [one.epoch for one in taken]
    verdicts = Counter(str(decode(one.value, Verdict).outcome) for one in records if one.topic == "verdicts")
    say(f"{len(raw)} records, {len(raw) - ledger.seq} of them void, epochs {epochs}, verdicts {dict(verdicts)}")
    assert epochs == sorted(set(epochs))
    assert len({one.message for one in taken}) == len(taken)
