"""The whole agent against a log, with executor ``none``: what it follows, refuses, remembers and says."""

import asyncio
from itertools import pairwise

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.node.kit import Author, signer
from tests.node.world import ONE, THREE, TWO, World, versions

from tidegate.node.metrics import NodeMetrics
from tidegate.node.state import SLOTS
from tidegate.wire.documents import Cohort, KeyRole, Move, Order, Phase
from tidegate.wire.envelope import seal
from tidegate.wire.telemetry import ServiceState, Source, decode


@pytest.fixture
async def world():
    world = World()
    await world.installed()
    return world


async def test_a_canary_goes_forward_and_back(world):
    async with world.agent():
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.runs("2")
        await world.author.retreat()
        await world.runs("1")


async def test_absence_and_an_empty_target_change_nothing(world):
    async with world.agent() as agent:
        await world.until(lambda: agent.caught_up)
        await world.author.start(TWO, ONE)
        nobody = await world.author.say(world.author.desired(settled=None, move=Move.HOLD))
        await world.accepted(agent, nobody)
        assert world.version() == "1"
    assert versions(world) == ["1"]


async def test_only_what_is_newest_at_the_end_of_the_log_is_ever_started(world):
    """A node that was away never starts a version that was superseded meanwhile (B6)."""
    await world.author.start(TWO, ONE)
    await world.author.advance()
    await world.author.retreat()
    await world.author.start(THREE, ONE, "r2")
    await world.author.settle()
    async with world.agent():
        await world.runs("3")
    assert versions(world) == ["1", "3"]


async def test_forged_stale_and_zombie_documents_change_nothing(world):
    author = world.author
    async with world.agent() as agent:
        await author.start(TWO, ONE)
        forged = seal(author.desired(settled=TWO, phase=Phase.DONE), signer("thief"))
        await world.log.append("desired", author.subject, forged)
        await world.log.append("desired", author.subject, seal(author.desired(settled=TWO, phase=Phase.DONE), author.operator))
        await world.log.append("desired", author.subject, b'{"payloadType": "nothing')
        await author.claim(2)
        zombie = author.desired(settled=TWO, phase=Phase.DONE, move=Move.HOLD, epoch=1)
        await author.say(zombie)
        await author.say(replace(author.desired(settled=TWO, phase=Phase.DONE, move=Move.HOLD), fleet="other"))
        await world.read(agent)
        assert world.version() == "1"
    assert versions(world) == ["1"]


async def test_a_version_outside_the_plan_is_refused(world):
    async with world.agent() as agent:
        await world.author.start(TWO, ONE)
        before = agent.held("shop").accepted
        await world.author.say(world.author.desired(settled=THREE, move=Move.HOLD))
        await world.read(agent)
        assert agent.held("shop").accepted.document.generation == before.document.generation + 2
    assert versions(world) == ["1"]


async def test_an_advance_accepted_in_time_is_not_applied_late(world):
    """Here the download takes longer than the advance lives, so it is ended; renewed, the advance is applied."""
    world.executor.gate.clear()
    async with world.agent() as agent:
        await world.author.start(TWO, ONE)
        await world.accepted(agent, await world.author.advance(expires_ms=world.clock.now_ms() + 60_000))
        await world.until(lambda: world.executor.fetching == 2)
        await world.clock.advance(61)
        assert world.executor.cancelled == 1
        world.executor.gate.set()
        await world.clock.advance(5)
        assert versions(world) == ["1"]
        await world.author.advance(expires_ms=world.clock.now_ms() + 60_000)
        await world.runs("2")


async def test_an_advance_is_not_applied_before_the_log_is_read_to_its_end_or_after_its_time(world):
    """Cached and accepted, but the broker goes away: what may have been said since then is not known."""
    await world.author.start(TWO, ONE)
    world.executor.gate.clear()
    async with world.agent() as agent:
        await world.accepted(agent, await world.author.advance(expires_ms=world.clock.now_ms() + 60_000))
        await world.until(lambda: world.executor.fetching == 2)
        world.log.reachable = False
        world.executor.gate.set()
        await world.clock.advance(59)
        assert (versions(world), world.executor.holds(TWO)) == (["1"], True)
        await world.clock.advance(2)
        world.log.reachable = True
        await world.clock.advance(5)
        assert versions(world) == ["1"]


async def test_what_took_long_to_read_is_read_again_before_an_advance_and_counted(world):
    """What was read is as old as the reading took; whoever waits for the node sees why."""
    await world.author.start(TWO, ONE)
    world.executor.gate.clear()
    async with world.agent() as agent:
        await world.accepted(agent, await world.author.advance())
        await world.until(lambda: world.executor.fetching == 2)
        world.log.reachable = False
        world.executor.gate.set()
        await world.clock.advance(3)
        assert ("swap", "read again") not in agent.figures().actions
        world.log.reachable = True
        await world.runs("2")
        assert agent.figures().actions["swap", "read again"] == 1


async def test_a_retreat_ends_a_download_under_way(world):
    world.executor.gate.clear()
    async with world.agent() as agent:
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.until(lambda: world.executor.fetching == 2)
        await world.accepted(agent, await world.author.retreat())
        await world.until(lambda: world.executor.cancelled == 1)
    assert versions(world) == ["1"]


async def on_trial_while_another_downloads(world, cart, give):
    """2 of the shop runs on trial, and 3 of the cart is on its way."""
    await world.author.start(TWO, ONE)
    await world.author.advance()
    await world.runs("2")
    world.executor.gate.clear()
    await cart.start(THREE, None, "c")
    await give()
    await world.until(lambda: world.executor.fetching == 3)


async def test_a_retreat_of_one_service_does_not_wait_for_the_download_of_another():
    world = World(("shop", "cart"))
    await world.installed()
    cart = Author(world.log, "cart")
    async with world.agent():
        await on_trial_while_another_downloads(world, cart, cart.advance)
        await world.author.retreat()
        await world.runs("1")
        assert world.executor.cancelled == 1
        world.executor.gate.set()
        await world.until(lambda: world.version("cart") == "3", what="the other service's turn")


async def test_a_download_is_not_cut_off_by_that_of_another_service():
    """One whose artifact cannot be had tries again every 30 s, and a download that takes longer never ended."""
    world = World(("cart", "shop"))
    await world.installed()
    cart = Author(world.log, "cart")
    world.executor.missing = {"3"}
    async with world.agent():
        world.executor.gate.clear()
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.until(lambda: world.executor.fetching == 2)
        await cart.start(THREE, None, "c")
        await cart.settle()
        await world.clock.advance(40)
        assert (world.executor.fetching, world.executor.cancelled) == (2, 0)
        world.executor.gate.set()
        await world.runs("2")


async def test_the_download_of_a_retreat_goes_before_that_of_an_advance():
    world = World(("cart", "shop"))
    await world.installed()
    cart = Author(world.log, "cart")
    async with world.agent():
        await on_trial_while_another_downloads(world, cart, cart.settle)
        world.executor._held = {one for one in world.executor._held if one[0] != "1"}
        await world.author.retreat()
        await world.until(lambda: world.executor.cancelled == 1)
        world.executor.gate.set()
        await world.runs("1")


async def test_an_agent_that_is_told_to_end_while_it_mends_what_was_half_done_ends(world):
    """A restart command may take its whole time, and a hook an hour; the next life mends the rest."""
    tidied = []

    async def mend(_exited):
        try:
            await world.clock.sleep(3_600)
        finally:
            tidied.append(True)

    world.executor.adopt = mend
    async with asyncio.timeout(5), world.agent():
        await world.clock.advance(1)
    assert tidied
    assert world.version() == "1"


async def test_prefetch_starts_nothing(world):
    async with world.agent() as agent:
        await world.author.start(TWO, ONE)
        await world.author.say(world.author.desired(prefetch=True))
        await world.until(lambda: world.executor.holds(TWO))
        await world.until(lambda: world.reports()[-1].services[0].prefetched == ("1", "2"))
        assert agent.status()["shop"].version == "1"
    assert versions(world) == ["1"]


async def test_a_token_restarts_once_whatever_is_repeated_lost_or_restarted(world):
    async def say(token: str):
        cohort = Cohort(name="control", first=0, count=1, version="1", token=token)
        return await world.author.say(world.author.desired(cohorts=(cohort,)))

    await world.author.start(TWO, ONE)
    async with world.agent() as agent:
        await say("r.1/0")
        await world.until(lambda: len(world.executor.launches) == 2)
        await world.accepted(agent, await say("r.1/0"))
        await world.accepted(agent, await say(""))
        await world.accepted(agent, await say("r.1/0"))
    async with world.agent() as agent:
        await world.accepted(agent, await say("r.1/0"))
        await say("r.1/1")
        await world.until(lambda: len(world.executor.launches) == 3)
    assert [launch.token for launch in world.executor.launches] == ["", "r.1/0", "r.1/1"]


async def test_a_restart_for_a_token_that_fails_is_tried_again(world):
    """B3: a control that did not come up once is no reason to roll a good release back."""
    await world.author.start(TWO, ONE)
    async with world.agent() as agent:
        world.executor.broken = {"1"}
        cohort = Cohort(name="control", first=0, count=1, version="1", token="r.1/0")
        await world.author.say(world.author.desired(cohorts=(cohort,)))
        await world.until(lambda: agent.status()["shop"].state is ServiceState.FAILED)
        world.executor.broken = set()
        await world.clock.advance(120)
        await world.until(lambda: world.reports()[-1].services[0].token == "r.1/0")


async def test_a_start_that_fails_is_said_and_not_tried_again(world):
    world.executor.broken = {"2"}
    async with world.agent() as agent:
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.until(lambda: agent.status()["shop"].state is ServiceState.FAILED)
        await world.accepted(agent, await world.author.advance())
        await world.until(lambda: world.reports()[-1].services[0].order == Order(1, 1, world.author.generation))
        report = world.reports()[-1].services[0]
    assert (report.state, report.version, report.digest) == (ServiceState.FAILED, "2", ONE.sha256)
    assert "does not start" in report.error
    assert versions(world) == ["1", "2"]
    assert world.version() == "1"


async def test_a_crash_loop_goes_back_without_a_broker(world):
    async with world.agent() as agent:
        await world.clock.advance(61)
        await world.until(lambda: agent.held("shop").good is not None, what="version 1 proven good")
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.runs("2")
        world.log.reachable = False
        for _ in range(3):
            await world.until(lambda: world.version() == "2")
            world.executor.crash("shop")
            await world.clock.advance(5)
        await world.runs("1")
        world.log.reachable = True
        await world.until(lambda: world.reports()[-1].services[0].state is ServiceState.FAILED)
        report = world.reports()[-1].services[0]
        assert report.digest == ONE.sha256
        assert "ended 3 times by itself" in report.error
        await world.author.retreat()
        await world.until(lambda: agent.status()["shop"].state is ServiceState.READY)
    assert versions(world) == ["1", "2", "2", "2", "1"]


async def test_a_broker_that_is_away_at_the_start_does_not_keep_services_down(world):
    world.executor.crash("shop")
    world.log.reachable = False
    async with world.agent():
        await world.runs("1")
        world.log.reachable = True


async def test_two_documents_of_one_order_freeze_the_service_and_say_so(world):
    async with world.agent() as agent:
        await world.author.start(TWO, ONE)
        document = world.author.desired(cohorts=())
        await world.author.say(document)
        await world.accepted(agent, document)
        await world.author.say(replace(document, settled=TWO, phase=Phase.DONE))
        await world.until(lambda: world.reports()[-1].frozen, what="frozen")
        refused = await world.author.advance()
        await world.author.claim(2)
        await world.accepted(agent, await world.author.retreat())
        await world.until(lambda: not world.reports()[-1].frozen)
        assert refused.order < agent.held("shop").accepted.document.order
    assert versions(world) == ["1"]


async def test_damaged_memory_keeps_what_runs_and_refuses_advances(world):
    for slot in SLOTS:
        world.disk.files[slot] = b"5|0|torn"
    await world.author.start(TWO, ONE)
    await world.author.advance()
    async with world.agent() as agent:
        await world.until(lambda: any(report.frozen for report in world.reports()))
        await world.author.advance()
        await world.accepted(agent, await world.author.say(world.author.desired(move=Move.HOLD, phase=Phase.PAUSED)))
        assert agent.held("shop").freeze is None, "a document that is no advance ends it"
    assert versions(world) == ["1"]


async def test_the_next_life_remembers_and_does_nothing_twice(world):
    await world.author.start(TWO, ONE)
    document = await world.author.advance(token="r.1")
    async with world.agent():
        await world.runs("2")
    async with world.agent() as agent:
        assert agent.held("shop").accepted.document == document
        await world.until(lambda: agent.caught_up)
        await world.until(lambda: world.reports()[-1].boot == "boot3")
    assert versions(world) == ["1", "2"]


async def test_a_newer_key_document_takes_over_and_the_old_key_counts_no_more(world):
    author = world.author
    old, author.decision = author.decision, signer("decision-2")
    keys = (
        signer("root").public(KeyRole.ROOT),
        author.operator.public(KeyRole.OPERATOR),
        author.decision.public(KeyRole.DECISION),
    )
    root = replace(author.root, version=2, keys=keys)
    async with world.agent() as agent:
        await author.claim(2)
        await author.start(TWO, ONE)
        await author.say(author.desired(root_version=2, settled=TWO, phase=Phase.DONE, move=Move.HOLD))
        await world.until(lambda: agent.caught_up)
        assert world.version() == "1", "the new key is not known yet"
        await world.log.append("keys", "2", seal(root, signer("root")))
        await world.runs("2")
        author.decision = old
        await author.say(author.desired(root_version=2, settled=ONE, phase=Phase.DONE, move=Move.HOLD))
        author.decision = signer("decision-2")
        last = await author.say(author.desired(root_version=2, settled=TWO, phase=Phase.DONE, move=Move.HOLD))
        await world.accepted(agent, last)
    async with world.agent() as agent:
        assert agent.held("shop").accepted.document.order.root_version == 2
    assert versions(world) == ["1", "2"]


@pytest.mark.parametrize("evictor", [b"garbage", None], ids=["garbage", "tombstone"])
async def test_a_key_document_that_was_trusted_once_is_held_without_its_record(world, evictor):
    """Whatever becomes of ``keys``: the next life of the agent knows the new key, and the old one counts no more."""
    author = world.author
    old, author.decision = author.decision, signer("decision-2")
    kept = tuple(key for key in author.root.keys if key.role is not KeyRole.DECISION)
    root = replace(author.root, version=2, keys=(*kept, author.decision.public(KeyRole.DECISION)))
    async with world.agent():
        await author.claim(2)
        await author.start(TWO, ONE)
        await author.say(author.desired(root_version=2, settled=TWO, phase=Phase.DONE, move=Move.HOLD))
        await world.log.append("keys", "2", seal(root, signer("root")))
        await world.runs("2")
    await world.log.append("keys", "2", evictor)
    async with world.agent() as agent:
        author.decision = old
        await author.say(author.desired(root_version=2, settled=ONE, phase=Phase.DONE, move=Move.HOLD))
        author.decision = signer("decision-2")
        await world.accepted(
            agent, await author.say(author.desired(root_version=2, settled=TWO, phase=Phase.DONE, move=Move.HOLD))
        )
    assert versions(world) == ["1", "2"]


async def test_liveness_rows_come_once_a_second_for_what_desired_names():
    world = World(("shop", "idle"))
    await world.installed()
    async with world.agent():
        await world.until(lambda: len(world.log.topic("telemetry")) >= 3)
    records = world.log.topic("telemetry")
    rows = [decode(record.value) for record in records if record.value is not None]
    last = [row for row in rows if row.boot == "boot2"]
    assert {record.key for record in records} == {"n1"}
    assert {(row.service, row.source, row.version, row.state) for row in last} == {
        ("shop", Source.AGENT, "1", ServiceState.READY)
    }
    assert [row.seq for row in last] == list(range(1, len(last) + 1))
    assert all(after.start_ms - before.start_ms == 1_000 for before, after in pairwise(last))
    assert all(row.changed_ms > 0 and row.requests == 0 for row in last)


async def test_what_has_not_changed_is_reported_every_30_s(world):
    """F4."""
    async with world.agent():
        await world.clock.advance(300)
    told_ms = [report.issued_ms for report in world.reports() if report.boot == "boot2"]
    assert {later - sooner for sooner, later in pairwise(told_ms[1:])} == {30_000}
    assert len(told_ms) >= 300 // 30


async def test_reports_rise_and_repeat_nothing(world):
    async with world.agent():
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.until(lambda: world.reports()[-1].services[0].digest == TWO.sha256)
    reports = [report for report in world.reports() if report.boot == "boot2"]
    assert [report.counter for report in reports] == list(range(1, len(reports) + 1))
    assert all(one.services != other.services for one, other in pairwise(reports))
    assert reports[-1].services[0].ready_ms > 0


async def test_what_is_done_within_a_moment_is_one_report(world):
    """Accepted, fetched, started and ready: a fleet that changes at once would send five of each node."""
    async with world.agent() as agent:
        await world.until(lambda: agent.caught_up)
        before = len(world.reports())
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.until(lambda: world.reports()[-1].services[0].digest == TWO.sha256)
        assert len(world.reports()) - before <= 2


async def test_metrics_say_what_runs_and_what_was_done(world):
    registry = CollectorRegistry()
    world.executor.broken = {"2"}
    async with world.agent() as agent:
        registry.register(NodeMetrics(agent))
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.until(lambda: agent.status()["shop"].state is ServiceState.FAILED)
        state = {"service": "shop", "state": "failed", "version": "2"}
        assert registry.get_sample_value("tidegate_node_service_state", state) == 1
        assert registry.get_sample_value("tidegate_node_actions_total", {"kind": "swap", "result": "failed"}) == 1
        assert registry.get_sample_value("tidegate_node_accepted_generation", {"service": "shop"}) == world.author.generation
