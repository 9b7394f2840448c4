"""Three services in two waves on real Kafka and in real processes: the second is bad, and all of it goes back as one (D7)."""

import asyncio
import contextlib
import itertools
import urllib.request
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import yaml
from tests.scenarios.kit import System

from tidegate.broker.local import free_ports
from tidegate.demo.fleet import CommandFailed, Fleet
from tidegate.sim.protocol import Waves
from tidegate.wire.decisions import Decision, DecisionKind

pytestmark = [pytest.mark.kafka, pytest.mark.scenario, pytest.mark.asyncio(loop_scope="module")]

SERVERS = 2
WITHIN_S = 60
WAVES = (("stock", "price"), ("shop",))
SERVICES = tuple(itertools.chain(*WAVES))
NAME = "group/checkout"
PROGRAM = '''"""Says which version it is; knows nothing of telemetry."""

from http.server import BaseHTTPRequestHandler

from tidegate.sdk import serve_http


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len({version!r})))
        self.end_headers()
        self.wfile.write({version!r}.encode())

    def log_message(self, *_):
        pass


serve_http(Service)
'''
PLAN = {
    "control": "none",
    "maxUnavailable": "100%",
    "probe": {"http": "/health", "interval": "100ms", "counts": True},
}
FIRST = {"stages": [{"setWeight": 100, "bake": "1s", "minRequests": 0}], "watch": "0s"}
NEXT = {"stages": [{"setWeight": 100, "bake": "2s", "minRequests": 60}], "watch": "3s"}


class Services(System):
    """Two servers, three services on each, v1 of all of them installed as a group."""

    def __init__(self, *args, **fields) -> None:
        super().__init__(*args, **fields)
        self.listens = {(node, service): free_ports(1)[0] for node in self.nodes for service in SERVICES}

    async def start(self) -> None:
        await Fleet.start(self)
        self.begin_to_follow()
        await self.until(lambda: len(self.watch.running) == len(self.nodes), WITHIN_S, "reports of all node agents")
        await self.command("rollout", "start", self.grouped("v1", FIRST), "--wait", "--timeout", f"{WITHIN_S}s")

    def grouped(self, version: str, fields: dict, bad: str = "") -> str:
        """Write the programs, plans and group of a version; ``bad`` does not start. Return the group's path."""
        for service in SERVICES:
            program = self.folder / f"{service}-{version}.py"
            program.write_text("raise SystemExit('broken')" if service == bad else PROGRAM.format(version=version))
            plan = {"service": service, "artifact": {"version": version, "path": str(program)}} | PLAN | fields
            (self.folder / f"{service}.yaml").write_text(yaml.safe_dump(plan))
        group = {"name": "checkout", "waves": [{"plans": [f"{service}.yaml" for service in wave]} for wave in WAVES]}
        path = self.folder / "group.yaml"
        path.write_text(yaml.safe_dump(group))
        return str(path)

    async def answering(self, version: str) -> None:
        """Wait until every service on every server answers that it is this version."""
        async with asyncio.timeout(10):
            while set(await asyncio.gather(*(asyncio.to_thread(_asked, port) for port in self.listens.values()))) != {version}:
                pass

    def _configure(self, node: str, listen: str) -> None:
        super()._configure(node, listen)
        path = self._home.nodes / f"{node}.yaml"
        config = yaml.safe_load(path.read_text())
        (common,) = config["services"].values()
        config["services"] = {service: common | {"listen": f"127.0.0.1:{self.listens[node, service]}"} for service in SERVICES}
        path.write_text(yaml.safe_dump(config))


def _asked(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
            return response.read().decode()
    except OSError as error:
        return str(error)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Services]:
    async with contextlib.AsyncExitStack() as stack:
        system = Services(tmp_path_factory.mktemp("waves"), SERVERS, broker.bootstrap)
        stack.push_async_callback(system.stop)
        await system.start()
        yield system


async def test_a_bad_second_wave_takes_the_first_back_with_it_in_reverse(services, say):
    await services.answering("v1")
    with pytest.raises(CommandFailed) as back:
        await services.command(
            "rollout", "start", services.grouped("v2", NEXT, bad="shop"), "--wait", "--timeout", f"{WITHIN_S}s"
        )
    await services.until(
        lambda: any(one.subject == NAME and one.kind is DecisionKind.RETURNED for _, one in services.decisions), 10, "its end"
    )
    await services.answering("v1")

    def at_ms(kind: DecisionKind, service: str) -> int:
        found = [at for at, one in story if one.kind is kind and one.subject in (f"svc/{service}", service)]
        assert len(found) == 1
        return found[0]

    story = _last_group(services.decisions)
    waves = Waves()
    for _, decision in services.decisions:
        waves.take(decision)
    assert waves.violations == []
    assert (waves.starts, waves.retreats) == (6, 2)
    bad_ms, failed_ms, done_ms = (
        at_ms(DecisionKind.START, "shop"),
        at_ms(DecisionKind.ROLLBACK, "shop"),
        at_ms(DecisionKind.RETURNED, NAME),
    )
    for service in WAVES[0]:
        assert at_ms(DecisionKind.COMPLETE, service) <= bad_ms
        assert at_ms(DecisionKind.RETURNED, "shop") <= at_ms(DecisionKind.ROLLBACK, service)
    say(
        f"wave of stock and price on {SERVERS} servers {(bad_ms - story[0][0]) / 1000:.1f} s, bad shop taken back "
        f"{(failed_ms - bad_ms) / 1000:.1f} s after its start, all of both waves back {(done_ms - failed_ms) / 1000:.1f} s later"
    )
    assert "rollback  group/checkout" in str(back.value)
    told = await services.command("rollout", "explain", NAME)
    assert "shop goes back (" in told
    assert "and the group with it, the last wave first." in told
    assert "group/checkout: done: rolled back" in await services.command("rollout", "status", NAME)


def _last_group(decisions: list[tuple[int, Decision]]) -> list[tuple[int, Decision]]:
    begin = max(at for at, (_, one) in enumerate(decisions) if one.subject == NAME and one.kind is DecisionKind.ACCEPT)
    return decisions[begin:]
