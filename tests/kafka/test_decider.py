"""Decision agents as processes on real Kafka: kill -9, and two at once."""

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import IO

import pytest
import yaml

from tidegate.broker import KafkaLog
from tidegate.wire.codec import decode
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import digest

pytestmark = pytest.mark.kafka
TIDEGATE = (sys.executable, "-m", "tidegate.cli.main")


class Home:
    """An installation on this test's topics."""

    def __init__(self, folder: Path, connection) -> None:
        self.folder = folder / "home"
        self.connection = connection
        self.processes: list[asyncio.subprocess.Process] = []

    async def run(self, *arguments: str) -> str:
        process = await self.spawn(*arguments, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def spawn(self, *arguments: str, stdout: int | IO[bytes] = asyncio.subprocess.DEVNULL) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *TIDEGATE, "--home", str(self.folder), *arguments, stdout=stdout, stderr=asyncio.subprocess.STDOUT
        )
        self.processes.append(process)
        return process

    async def end(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.fixture
async def home(tmp_path, connection):
    home = Home(tmp_path, connection)
    await home.run(
        "init", "--fleet", "t", "--bootstrap", connection.bootstrap, "--prefix", connection.prefix, "--node", "n1", "--publish"
    )
    config = home.folder / "nodes" / "n1.yaml"
    node = yaml.safe_load(config.read_text()) | {"services": {"shop": {"executor": "none"}}}
    config.write_text(yaml.safe_dump(node))
    yield home
    await home.end()


async def decisions(log: KafkaLog, until, within_s: float = 30.0) -> list[tuple[int, Decision, bytes]]:
    """Follow the ledger until a condition on all its records holds."""
    reader = await log.reader(["decisions"])
    found: list[tuple[int, Decision, bytes]] = []
    try:
        async with asyncio.timeout(within_s):
            while not until([decision for _, decision, _ in found]):
                found += [(one.time_ms, decode(one.value, Decision), one.value) for one in await reader.poll(0.5)]
    finally:
        await reader.close()
    return found


def takeovers(found):
    return [decision for decision in found if decision.kind == "takeover"]


PLAN = {"service": "shop", "stages": [{"setWeight": 100, "bake": "12s", "minRequests": 0}], "watch": "0s"}


async def decider(home: Home, name: str) -> Path:
    """Start a decision agent; return the file of its log."""
    path = home.folder / f"{name}.log"
    with path.open("wb") as file:
        await home.spawn("decide", stdout=file)
    return path


async def leading(logs: list[Path], log: KafkaLog) -> int:
    """Return which of some deciders took over last: the ledger names its life, and so does its own log."""
    found = await decisions(log, takeovers)
    life = takeovers([one for _, one, _ in found])[-1].message.split()[0]
    async with asyncio.timeout(10):
        while True:
            for index, path in enumerate(logs):
                if f'"life": "{life}"' in path.read_text() and '"event": "leading"' in path.read_text():
                    return index
            await asyncio.sleep(0.05)


async def test_of_two_deciders_one_leads_and_after_kill_9_the_other_ends_what_it_began_within_15_seconds(
    home, log, record_property
):
    logs = [await decider(home, "first"), await decider(home, "second")]
    processes = home.processes[-2:]
    index = await leading(logs, log)
    await home.spawn("node", "--config", str(home.folder / "nodes" / "n1.yaml"))
    artifact = home.folder / "v1.bin"
    artifact.write_text("v1")
    plan = home.folder / "v1.yaml"
    plan.write_text(yaml.safe_dump(PLAN | {"artifact": {"version": "v1", "uri": str(artifact)}}))
    deadline_s = time.monotonic() + 30
    while await (await home.spawn("rollout", "start", str(plan))).wait():
        assert time.monotonic() < deadline_s, "the plan was not taken; has the node reported?"
    before = await decisions(log, lambda found: any(one.kind == "bake" for one in found))
    assert len(takeovers([one for _, one, _ in before])) == 1

    killed_ms = time.time_ns() // 1_000_000
    processes[index].send_signal(signal.SIGKILL)
    after = await decisions(log, lambda found: any(one.kind == "complete" for one in found), 60)
    taken = [(at_ms, one) for at_ms, one, _ in after if one.kind == "takeover"]
    assert [one.epoch for _, one in taken] == [1, 2]
    assert taken[-1][0] - killed_ms <= 15_000
    kinds = [str(one.kind) for _, one, _ in after if one.subject]
    assert kinds.count("accept") == kinds.count("start") == kinds.count("complete") == 1
    heads = ["", *(digest(raw) for _, _, raw in after)]
    assert [one.prev for _, one, _ in after] == heads[:-1]
