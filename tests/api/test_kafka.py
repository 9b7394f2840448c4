"""``tidegate api`` as a process on a real broker, with clients of others: flags from the command line, the broker's death, and
its own while no broker answers.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.contrib.provider.ofrep import OFREPProvider
from tests.cli.kit import Result
from tests.cli.test_flag_kafka import DARK
from tests.cli.test_kafka import running
from tests.cli.test_up import Shell
from tests.node.kit import free_port
from tests.runtime.test_serve import get

from tidegate.broker import KafkaProcess

pytestmark = pytest.mark.kafka
WITHIN_S = 60.0
OLD_S = 5.0
"""More than the pause between two looks at a topic that rests."""
ON, OFF = ["on", "on"], ["off", "off"]
Give = Callable[[], Awaitable[list[str | None]]]
"""Returns the variants that the stock providers give: flagd's in process, then OFREP's; None where a caller gets its default."""


class Api:
    """The process, at ports that its clients know."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.port, self.sync, self._health = free_port(), free_port(), free_port()
        path = shell.home / "config.yaml"
        served = {"api": {"port": self.port, "sync": self.sync, "flag_set": "web"}, "http": {"api": self._health}}
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | served))
        self.process: asyncio.subprocess.Process

    async def begin(self) -> None:
        self.process = await self._shell.start("api")

    async def end(self, how: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(how)
            await self.process.communicate()

    async def health(self) -> str:
        """What it says of itself; nothing while it does not answer."""
        try:
            return (await get(f"http://127.0.0.1:{self._health}/readyz"))[1].strip()
        except OSError:
            return ""

    async def is_current(self) -> bool:
        """Whether it says that it serves all that is on the topic."""
        return await self.health() == "ready"

    async def is_old(self) -> bool:
        """Whether its age tells that no broker answers."""
        _, text = await get(f"http://127.0.0.1:{self._health}/metrics")
        (age,) = (line.split()[1] for line in text.splitlines() if line.startswith("tidegate_api_flags_age_seconds "))
        return float(age) > OLD_S

    async def type(self, *words: str) -> Result:
        return await self._shell.type(*words)

    def metadata(self) -> dict[str, Any]:
        """What comes with an answer over OFREP."""
        url = f"http://127.0.0.1:{self.port}/ofrep/v1/evaluate/flags/dark"
        found: dict[str, Any] = requests.post(url, json={"context": {}}, timeout=20).json()["metadata"]
        return found


@pytest.fixture
async def served(tmp_path: Path, private_kafka: KafkaProcess) -> AsyncIterator[Api]:
    """An installation whose decision agent runs, with one flag that is on, and its API."""
    shell = Shell(tmp_path, private_kafka.bootstrap)
    assert (await shell.type("init", "--publish")).code == 0
    served = Api(shell)
    (tmp_path / "dark.yaml").write_text(DARK)
    async with running(shell, ("decide",)):
        await served.begin()
        try:
            done = await shell.type("flag", "set", "web/dark", "-f", str(tmp_path / "dark.yaml"), "--reason", "night")
            assert (done.code, done.err) == (0, "")
            await until(served.is_current)
            yield served
        finally:
            await served.end(signal.SIGTERM)


@pytest.fixture
async def give(served: Api) -> AsyncIterator[Give]:
    providers = {
        "stock-flagd": FlagdProvider(
            host="127.0.0.1",
            port=served.sync,
            resolver_type=ResolverType.IN_PROCESS,
            selector="web",
            deadline_ms=20_000,
            retry_backoff_max_ms=1_000,
        ),
        "stock-ofrep": OFREPProvider(f"http://127.0.0.1:{served.port}"),
    }
    for domain, provider in providers.items():
        await asyncio.to_thread(api.set_provider_and_wait, provider, domain)
    clients = [api.get_client(domain) for domain in providers]

    def ask() -> list[str | None]:
        return [client.get_boolean_details("dark", default_value=False).variant for client in clients]

    yield lambda: asyncio.to_thread(ask)
    await asyncio.to_thread(api.clear_providers)


async def until(condition: Callable[[], Awaitable[object]]) -> float:
    """Wait until something is so; return how long that took, in s."""
    began_s = time.monotonic()
    async with asyncio.timeout(WITHIN_S):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return time.monotonic() - began_s


async def test_a_kill_reaches_clients_of_others_and_stays_when_the_broker_and_then_the_api_die(
    served: Api, give: Give, private_kafka: KafkaProcess, say: Callable[[str], None]
) -> None:
    async def is_said(what: str) -> bool:
        return what in await served.health()

    async def are(variants: list[str]) -> bool:
        return await give() == variants

    assert (await give(), await served.health()) == (ON, "ready")
    assert (await served.type("flag", "kill", "web/dark", "--reason", "it burns")).code == 0
    seen_s = await until(lambda: are(OFF))

    await private_kafka.kill()
    assert await give() == OFF
    aged_s = await until(served.is_old)

    await served.end(signal.SIGKILL)
    await served.begin()
    again_s = await until(lambda: is_said("no broker answers; flags are the last known good"))
    await until(lambda: are(OFF))
    assert served.metadata()["tidegate.ageSeconds"] > OLD_S

    await private_kafka.start()
    current_s = await until(served.is_current)
    assert await give() == OFF
    assert (await served.type("flag", "restore", "web/dark", "--reason", "it is mended")).code == 0
    await until(lambda: are(ON))
    assert "tidegate.ageSeconds" not in served.metadata()
    say(f"stock flagd and OFREP providers: a kill seen {seen_s * 1000:.0f} ms after the command")
    say(f"broker gone: {OLD_S:.0f} s old after {aged_s:.0f} s; API killed: serves its snapshot after {again_s:.1f} s")
    say(f"broker back: current after {current_s:.1f} s")
