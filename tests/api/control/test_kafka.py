"""The control API as a process on a real broker, beside a real decision agent and node: a rollout from start to abort over HTTP,
and its own death in between.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import yaml
from tests.api.control.kit import BASE, Told, told
from tests.api.control.test_reads import kpi
from tests.api.test_kafka import until
from tests.cli.test_kafka import running
from tests.cli.test_up import Shell
from tests.node.kit import free_port

from tidegate.broker import Connection, KafkaLog, delete_topics
from tidegate.runtime.home import Home
from tidegate.wire.documents import KeyRole
from tidegate.wire.envelope import seal
from tidegate.wire.plans import Artifact, Pause, Plan, Stage, WhenBusy
from tidegate.wire.topics import BY_NAME

pytestmark = pytest.mark.kafka
WITHIN_S = 60.0
WHY = {"reason": "a test"}


class Api:
    """The process, at a port that its clients know."""

    def __init__(self, shell: Shell, prefix: str) -> None:
        self._shell = shell
        self.port = free_port()
        self.connection = Connection(shell.environment["TIDEGATE_BOOTSTRAP"], prefix)
        path = shell.home / "config.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"api": {"port": self.port, "sync": 0}}))
        self.token = ""
        self._process: asyncio.subprocess.Process

    async def begin(self) -> None:
        """Start it, and wait until it knows."""
        self._process = await self._shell.start("api")
        await until(self._knows)

    async def end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        await self._process.communicate()

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()} | {"Authorization": f"Bearer {self.token}"}
        data = {"data": body} if isinstance(body, bytes) else {"json": body}
        url = f"http://127.0.0.1:{self.port}{BASE}{path}"
        return await asyncio.to_thread(requests.request, method, url, headers=named, timeout=30, **data)

    async def seconds(self, log: KafkaLog, count: int) -> list[float]:
        """So many new seconds of KPIs: from being sent to being told, each in s."""
        named, found = {"Authorization": f"Bearer {self.token}"}, []
        url = f"http://127.0.0.1:{self.port}{BASE}/events"
        async with (
            asyncio.timeout(WITHIN_S),
            httpx.AsyncClient(timeout=WITHIN_S) as client,
            client.stream("GET", url, headers=named, params={"kinds": "kpi", "services": "shop"}) as answer,
        ):
            stream = told(answer)
            await anext(stream)
            for second in range(count):
                sent_s = time.monotonic()
                await log.append("kpis", "shop", kpi(second, "canary").flat())
                event = await anext(stream)
                found.append(time.monotonic() - sent_s)
                assert (event.event, event.data["at_ms"]) == ("kpi", (second + 1) * 1_000)
        return found

    async def events(self, last: str, enough: Callable[[list[Told]], bool]) -> list[Told]:
        """Events since an id (empty: from now on), until there are enough; the first says where they begin."""
        named = {"Authorization": f"Bearer {self.token}"} | ({"Last-Event-ID": last} if last else {})
        url, found = f"http://127.0.0.1:{self.port}{BASE}/events", []
        async with (
            asyncio.timeout(WITHIN_S),
            httpx.AsyncClient(timeout=WITHIN_S) as client,
            client.stream("GET", url, headers=named) as answer,
        ):
            stream = told(answer)
            while not found or not enough(found):
                found.append(await anext(stream))
        return found

    async def _knows(self) -> bool:
        assert self._process.returncode is None
        try:
            return (await self.ask("GET", "/rollouts")).status_code == 200
        except requests.ConnectionError:
            return False


@pytest.fixture
async def served(tmp_path: Path, kafka: str) -> AsyncIterator[tuple[Api, bytes]]:
    """An installation with one node whose agents run, its API, and a plan that waits at a gate."""
    shell, prefix = Shell(tmp_path, kafka), f"control{os.getpid()}."
    assert (await shell.type("init", "--nodes", "1", "--prefix", prefix, "--publish")).code == 0
    (node,) = (shell.home / "nodes").glob("*.yaml")
    node.write_text(node.read_text().replace("services: {}", "services: {shop: {executor: none}}"))
    api = Api(shell, prefix)
    api.token = (await shell.type("api", "token", "ci", "--role", "operator")).out.strip()
    home = Home(shell.home, shell.environment)
    plan = Plan(
        id="p1",
        fleet=home.settings.fleet,
        service="shop",
        artifact=Artifact(version="v1", sha256="a" * 64),
        stages=(Stage(set_weight=100, bake="1ms", min_requests=0, pause=Pause()),),
        expires_ms=1 << 42,
        max_unavailable="100%",
        when_busy=WhenBusy.REFUSE,
    )
    async with running(shell, ("decide",), ("node", "--config", str(node))):
        await api.begin()
        try:
            yield api, seal(plan, home.signer(KeyRole.OPERATOR))
        finally:
            await api.end(signal.SIGTERM)
    await delete_topics(Connection(kafka, prefix), tuple(BY_NAME))


async def test_a_rollout_is_driven_over_http_and_nothing_is_lost_when_the_api_is_killed(
    served: tuple[Api, bytes], say: Callable[[str], None]
) -> None:
    api, plan = served

    async def reported() -> bool:
        return bool((await api.ask("GET", "/fleet?service=shop")).json()["items"])

    await until(reported)
    began = await api.events("", lambda _: True)
    begun = await api.ask("POST", "/rollouts", plan)
    assert (begun.status_code, begun.json()["item"]["decision"]["kind"]) == (200, "accept"), begun.text

    async def at_gate() -> bool:
        return bool((await api.ask("GET", "/rollouts/shop")).json()["item"]["gate_since_ms"])

    await until(at_gate)
    paused = await api.ask("POST", "/rollouts/shop/pause", WHY, Idempotency_Key="once")
    assert paused.status_code == 200, paused.text
    before = await api.events(began[0].id, lambda found: decided(found) == "pause")

    await api.end(signal.SIGKILL)
    await api.begin()
    again = await api.ask("POST", "/rollouts/shop/pause", WHY, Idempotency_Key="once")
    assert again.json()["item"]["decision"] == paused.json()["item"]["decision"]
    seen = (await api.ask("GET", "/rollouts/shop")).headers["ETag"]
    resumed = await api.ask("POST", "/rollouts/shop/resume", WHY, If_Match=seen)
    assert (resumed.status_code, resumed.json()["item"]["decision"]["kind"]) == (200, "resume"), resumed.text
    # The stream goes on in the new process where it ended in the old one, and from its beginning it is the same.
    after = await api.events(before[-1].id, lambda found: decided(found) == "resume")
    assert [decided([one]) for one in after if one.event == "decision"] == ["resume"]
    whole = await api.events(began[0].id, lambda found: decided(found) == "resume")
    sequence = [one.data["about"]["seq"] for one in whole if one.event == "decision"]
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence)))
    known = (await api.ask("GET", "/rollouts")).json()["known"]
    log = KafkaLog(api.connection, client_id="test")
    took_s = sorted(await api.seconds(log, 20))
    await log.close()
    say(f"a new second of KPIs, sent to told, {len(took_s)} times: median {took_s[10]:.3f} s, most {took_s[-1]:.3f} s")
    say(f"control API on real Kafka: {len(whole) - 1} events, {len(sequence)} decisions, lag {known['lag_s']:.2f} s")


def decided(found: list[Told]) -> str:
    """The kind of the last decision; empty where the last event is none."""
    return str(found[-1].data["about"]["kind"]) if found[-1].event == "decision" else ""
