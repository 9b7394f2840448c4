"""``tidegate node revert``: a person on the node goes back, with the broker down (promise 20)."""

import asyncio
import errno
import os
from pathlib import Path

import msgspec
import pytest
import yaml
from click.testing import CliRunner
from tests.node.kit import config_of, until
from tests.node.world import ONE, THREE, TWO, World, versions

from tidegate.cli.node import LOOK_EVERY_S, hold_state, node
from tidegate.node.by_hand import ANSWERED, ASKED, Revert, answer, ask
from tidegate.node.config import ServiceConfig
from tidegate.ports import SystemClock, SystemDisk
from tidegate.wire.telemetry import ServiceState

BY_HAND = Revert(id="a1", leave={"shop": "2"}, actor="alice", reason="it eats orders")


@pytest.fixture
async def world():
    """Version 1 was good, 2 is on trial and runs."""
    world = World()
    await world.installed()
    async with world.agent():
        await world.clock.advance(61)
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.runs("2")
    return world


async def test_it_goes_back_without_a_broker_and_the_fleet_hears_of_it_later(world):
    world.log.reachable = False
    async with world.agent():
        ask(world.disk, BY_HAND)
        await world.runs("1")
        assert answer(world.disk).said == {"shop": "2 is left for 1, until another rollout"}
        await world.clock.advance(300)
        assert world.version() == "1"
        world.log.reachable = True
        await world.until(lambda: world.reports()[-1].services[0].state is ServiceState.FAILED)
        shop = world.reports()[-1].services[0]
        assert (shop.version, shop.digest) == ("2", ONE.sha256)
        assert "alice reverted it by hand on this node: it eats orders" in shop.error
        await world.author.advance()
        await world.clock.advance(30)
    assert versions(world) == ["1", "2", "1"], "a later advance of this rollout changes nothing"


async def test_another_rollout_may_go_forward_again(world):
    async with world.agent():
        ask(world.disk, BY_HAND)
        await world.runs("1")
        await world.author.start(THREE, ONE, "r3")
        await world.author.advance()
        await world.runs("3")


async def test_what_is_settled_is_left_too(world):
    async with world.agent():
        await world.author.settle()
        await world.clock.advance(70)
        ask(world.disk, BY_HAND)
        await world.runs("1")
        await world.clock.advance(70)
    async with world.agent():
        await world.clock.advance(70)
        assert world.version() == "1", "the next life holds it"


async def test_the_next_life_obeys_what_was_asked_while_no_agent_ran(world):
    ask(world.disk, BY_HAND)
    world.log.reachable = False
    async with world.agent():
        await world.runs("1")
        world.log.reachable = True


async def test_obeying_twice_goes_back_once(world):
    """The agent may die after it has gone back and before it has answered."""
    async with world.agent():
        ask(world.disk, BY_HAND)
        await world.runs("1")
    del world.disk.files[ANSWERED]
    async with world.agent():
        await world.until(lambda: answer(world.disk) is not None)
        assert "2 is not what was started last here" in answer(world.disk).said["shop"]
        await world.clock.advance(30)
        assert world.version() == "1"


REFUSED = {
    "another version": ({"shop": "1"}, "1 is not what was started last here; that is 2"),
    "another service": ({"cart": "2"}, "this node has no service cart"),
}


@pytest.mark.parametrize(("leave", "said"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_meant_is_answered_and_changes_nothing(world, leave, said):
    async with world.agent():
        ask(world.disk, Revert(id="a1", leave=leave, actor="alice"))
        await world.until(lambda: answer(world.disk) is not None)
        assert list(answer(world.disk).said.values()) == [said]
        await world.clock.advance(5)
        assert world.version() == "2"


async def test_where_nothing_was_good_before_nothing_changes():
    world = World()
    await world.installed()
    async with world.agent():
        ask(world.disk, Revert(id="a1", leave={"shop": "1"}, actor="alice"))
        await world.until(lambda: answer(world.disk) is not None)
        assert answer(world.disk).said == {"shop": "nothing that was good before 1 lies on this node; it runs on"}
        await world.clock.advance(5)
        assert world.version() == "1"


async def test_rubbish_in_the_file_asks_nothing(world):
    async with world.agent():
        world.disk.write(ASKED, b'{"id": "a1", "leave"')
        await world.clock.advance(5)
        assert (world.version(), answer(world.disk)) == ("2", None)


async def test_a_file_that_the_agent_may_not_read_asks_nothing(world, monkeypatch):
    """Written by root with a strict umask, it ended each life of the agent."""

    def read(name):
        if name in (ASKED, ANSWERED):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return type(world.disk).read(world.disk, name)

    monkeypatch.setattr(world.disk, "read", read)
    async with world.agent():
        await world.clock.advance(5)
        assert world.version() == "2"


def typed(folder: Path, *words: str):
    return CliRunner().invoke(node, ["revert", "--config", str(folder / "n1.yaml"), *words], standalone_mode=False)


@pytest.fixture
async def on_disk(tmp_path):
    """The same on a real disk, with the machine's own clock: what the command line talks to."""
    world = World()
    world.clock, world.disk = SystemClock(), SystemDisk(tmp_path / "state")
    world.executor._clock = world.log._clock = world.clock
    config = msgspec.to_builtins(config_of(tmp_path, shop=ServiceConfig(executor="none")))
    (tmp_path / "n1.yaml").write_text(yaml.safe_dump(config | {"state": "state"}))

    world.until = until
    await world.author.claim()
    await world.author.start(ONE, None, "r0")
    await world.author.settle()
    return world


async def test_the_command_asks_waits_and_tells(on_disk, tmp_path):
    world = on_disk
    async with world.agent() as agent:
        await world.runs("1")
        agent._memory.good("shop", ONE)
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.runs("2")
        result = await asyncio.to_thread(typed, tmp_path, "shop", "--reason", "it eats orders")
        assert (result.return_value, result.exception) == (0, None)
        assert "2 is left for 1" in result.output
        await world.runs("1")
        result = await asyncio.to_thread(typed, tmp_path)
        assert result.return_value == 1, "nothing was good before 1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for another")
async def test_what_root_asks_with_a_strict_umask_the_agents_user_can_read(on_disk, tmp_path, monkeypatch):
    monkeypatch.setattr("tidegate.cli.node.ANSWERED_WITHIN_S", 0)
    async with on_disk.agent():
        await on_disk.runs("1")
    os.chown(tmp_path / "state", 65_534, 65_534)
    before = os.umask(0o077)
    typed(tmp_path, "shop")
    os.umask(before)
    assert (tmp_path / "state" / ASKED).stat().st_uid == 65_534


async def test_the_command_says_what_to_do_where_it_cannot_ask_or_nobody_answers(on_disk, tmp_path, monkeypatch):
    monkeypatch.setattr("tidegate.cli.node.ANSWERED_WITHIN_S", 0.2)
    assert "nothing was started of shop" in str(typed(tmp_path).exception)
    async with on_disk.agent():
        await on_disk.runs("1")
    assert "has no service cart" in str(typed(tmp_path, "cart").exception)
    assert "it will obey when it runs" in str(typed(tmp_path, "shop").exception)


def test_the_agent_itself_still_asks_for_its_file():
    result = CliRunner().invoke(node, [])
    assert result.exit_code == 2
    assert "--config" in result.output


async def test_an_agent_waits_for_the_one_that_has_its_state_folder(tmp_path):
    """Two would adopt the same processes, and each take the other's stops for crashes."""
    first = await hold_state(tmp_path)
    second = asyncio.ensure_future(hold_state(tmp_path))
    done, _ = await asyncio.wait([second], timeout=3 * LOOK_EVERY_S)
    assert not done
    first.close()
    async with asyncio.timeout(10):
        (await second).close()
