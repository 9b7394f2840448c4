"""``tidegate bridge`` as a person types it, and as a process that is killed."""

import asyncio
import contextlib
import signal
import time

import pytest
import requests
import yaml
from tests.bridge.kit import Rows, settled, total, until
from tests.cli.test_up import Shell
from tests.otlp.stock import Service

from tidegate.broker.local import free_ports
from tidegate.cli.up import _programs
from tidegate.runtime.home import Home


@pytest.fixture
async def shell(tmp_path) -> Shell:
    shell = Shell(tmp_path, "127.0.0.1:1")
    assert (await shell.type("init", "--nodes", "1")).code == 0
    return shell


def configured(shell: Shell, **section) -> int:
    """Give config.yaml the section bridge; return the port of its health."""
    path = shell.home / "config.yaml"
    config = yaml.safe_load(path.read_text())
    (health,) = free_ports(1)
    path.write_text(yaml.safe_dump(config | {"bridge": section, "http": {"bridge": health}}))
    return health


async def test_a_token_is_printed_once_listed_by_name_and_revoked(shell):
    made = await shell.type("bridge", "token", "fleet")
    assert (made.code, made.out.startswith("tgapi_")) == (0, True)
    assert (await shell.type("bridge", "tokens", "-o", "json")).json == [{"name": "fleet"}]
    assert (await shell.type("bridge", "revoke", "fleet")).code == 0
    assert "this machine is served" in (await shell.type("bridge", "tokens")).out


async def test_up_runs_it_where_the_section_is_there(shell):
    def named() -> list[str]:
        return [program.name for program in _programs(Home(shell.home, {}), [], "127.0.0.1:1", keep_services=False)]

    assert "bridge" not in named()
    configured(shell)
    assert "bridge" in named()


async def test_what_is_wrong_in_the_section_is_told_with_its_path(shell):
    configured(shell, topics=[{"topic": "a b", "encoding": "avro"}], node=[])
    refused = await shell.type("bridge")
    assert refused.code == 2
    assert all(path in refused.err for path in ("bridge.topics[0].topic", "bridge.topics[0].encoding", "bridge.node"))


@contextlib.asynccontextmanager
async def running(shell: Shell, health: int):
    process = await shell.start("bridge", "--instance", "one")
    try:
        await until(lambda: ready(health), "ready")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ready(health: int) -> bool:
    try:
        return (await asyncio.to_thread(requests.get, f"http://127.0.0.1:{health}/readyz", timeout=5)).ok
    except requests.ConnectionError:
        return False


async def posted(url: str, body: bytes) -> bool:
    """Send an export, as stock exporters do: what is not taken is covered by the next one, for it is cumulative."""
    try:
        found = await asyncio.to_thread(
            requests.post, url, data=body, headers={"Content-Type": "application/x-protobuf"}, timeout=5
        )
    except requests.ConnectionError:
        return False
    return found.ok


@pytest.mark.kafka
@pytest.mark.thorough
async def test_killed_it_goes_on_where_it_was_and_doubles_nothing(connection, log, tmp_path, say):
    shell = Shell(tmp_path, connection.bootstrap)
    assert (await shell.type("init", "--nodes", "1", "--prefix", connection.prefix)).code == 0
    (port,) = free_ports(1)
    health, url = configured(shell, port=port), f"http://127.0.0.1:{port}/v1/metrics"
    service, counted, rows, taken = Service(), 0, Rows(log), []

    async def export(seconds: float) -> None:
        nonlocal counted
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            for _ in range(10):
                service.request(0.02)
            counted += 10
            taken.append(await posted(url, service.export()))
            await asyncio.sleep(0.2)

    async with running(shell, health) as first:
        await export(5)
        first.send_signal(signal.SIGKILL)
        await export(1)
    async with running(shell, health) as second:
        await export(5)
        await settled(rows)
        second.send_signal(signal.SIGTERM)
        assert await second.wait() == 0
    service.close()
    mine = list(rows.seen.values())
    seconds = {row.seq for row in mine}
    missed = max(seconds) - min(seconds) + 1 - len(seconds)
    say(
        f"killed and started again: {counted} requests, {total(mine)} in rows; {missed} seconds without a bridge, "
        f"{rows.repeated} rows twice, {taken.count(False)} of {len(taken)} exports refused"
    )
    assert counted - (missed + 1) * max(row.requests for row in mine) <= total(mine) <= counted
    await rows.close()
