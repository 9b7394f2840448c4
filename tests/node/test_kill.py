"""kill -9 of the agent at any moment of a swap: the next life ends it right, with one copy and no request lost."""

import asyncio
import contextlib
import os
import random
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from tests.node.benches import BENCHES
from tests.node.filelog import FileLog
from tests.node.kit import Author, Load, made, report_of, until

from tidegate.wire.telemetry import ServiceState

MAIN = Path(__file__).with_name("agent_main.py")
ROOTS = ("schemas", "streams", "agents", ".")
KILLS = 6
CLIENTS = 4


class Site:
    """One node with a real server under load, whose agent is a process that gets killed and started again."""

    def __init__(self, folder: Path, executor: str = "process") -> None:
        self.folder = folder
        self.bench = BENCHES[executor](folder)
        self.log = FileLog(folder / "log")
        self.author = Author(self.log)
        self._config = folder / "config.json"
        self._config.write_bytes(msgspec.json.encode(self.bench.config))
        self._agent: asyncio.subprocess.Process | None = None

    async def begin(self) -> None:
        root = Path(__file__).parents[2]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(root / one) for one in ROOTS)}
        self._agent = await asyncio.create_subprocess_exec(
            sys.executable, str(MAIN), str(self.log.path), str(self._config), env=environment, stdout=asyncio.subprocess.DEVNULL
        )

    async def kill(self) -> None:
        if self._agent is not None:
            with contextlib.suppress(ProcessLookupError):
                self._agent.kill()
            await self._agent.wait()

    def servers(self) -> list[int]:
        return self.bench.pids()

    def says(self, version: str) -> bool:
        """Return whether the last report says that a version runs, measured and ready."""
        reports = self.log.read("reports")
        if not reports or reports[-1].value is None:
            return False
        shop = report_of(reports[-1].value).services[0]
        return (shop.version, shop.state) == (version, ServiceState.READY)


@pytest.fixture
async def site(tmp_path, request):
    site = Site(tmp_path, getattr(request, "param", "process"))
    yield site
    await site.kill()
    await site.bench.end()


async def test_kill_9_of_the_agent_at_any_moment_of_a_swap(site, say):
    versions = [made(site.folder, str(number), start_delay_s=0.1) for number in range(KILLS + 1)]
    await site.author.claim()
    await site.author.start(versions[0], None, "r0")
    await site.author.settle()
    await site.begin()
    await until(lambda: site.says("0"), 20)
    load, moments = Load(site.bench.port, CLIENTS), random.Random(7)
    for before, after in pairwise(versions):
        await site.author.start(after, before, f"r{after.version}")
        await site.author.settle()
        if moments.random() < 0.5:
            await until(lambda: len(site.servers()) == 2)
        await asyncio.sleep(moments.uniform(0, 0.4))
        await site.kill()
        await site.begin()
        await until(lambda version=after.version: site.says(version), 20, f"{after.version} after a kill")
        await until(lambda: len(site.servers()) == 1, 20, "one copy")
    await load.stop()
    say(f"{KILLS} kills of the agent in mid swap: {len(load.answers)} requests, {len(load.lost)} lost")
    assert load.lost == []
    assert load.answers[-1] == str(KILLS)


@pytest.mark.parametrize("site", ["symlink", "hooks"], indirect=True)
async def test_kill_9_between_unpacking_link_restart_and_journal(site):
    """These stop the old version before the new one runs: requests are lost, but in the end one copy of the right one serves."""
    versions = [site.bench.artifact(str(number), slow_s=0.1) for number in range(4)]
    await site.author.claim()
    await site.author.start(versions[0], None, "r0")
    await site.author.settle()
    await site.begin()
    await until(lambda: site.says("0"), 20)
    moments = random.Random(5)
    for before, after in pairwise(versions):
        sent = len(site.log.read("reports"))
        await site.author.start(after, before, f"r{after.version}")
        await site.author.settle()
        await asyncio.sleep(moments.uniform(0.05, 0.5))
        await site.kill()
        await site.begin()
        await until(lambda sent=sent: len(site.log.read("reports")) > sent, 20)
        await until(lambda version=after.version: site.says(version), 20, f"{after.version} after a kill")
        await until(lambda: len(site.servers()) == 1, 20, "one copy")
        assert await site.bench.serves() == after.version
        assert report_of(site.log.read("reports")[-1].value).services[0].digest == after.sha256


async def test_kill_9_leaves_the_service_alone_and_the_next_life_adopts_it(site):
    one = made(site.folder, "1")
    await site.author.claim()
    await site.author.start(one, None, "r0")
    await site.author.settle()
    await site.begin()
    await until(lambda: site.says("1"), 20)
    before = site.servers()
    await site.kill()
    assert site.servers() == before
    sent = len(site.log.read("reports"))
    await site.begin()
    await until(lambda: len(site.log.read("reports")) > sent and site.says("1"), 20)
    assert site.servers() == before
    assert report_of(site.log.read("reports")[-1].value).services[0].exits == 0
