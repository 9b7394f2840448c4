"""The demo's installation: a home, a broker, every role as the ordinary command, and a node agent for each server.

``start`` makes all of it, ``settle`` ends the servers and counts what became of their telemetry, ``stop`` leaves nothing running.
"""

import asyncio
import contextlib
import json
import os
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tidegate.broker import Connection, KafkaLog, RunningBroker, find_broker
from tidegate.broker.local import free_ports
from tidegate.demo.releases import SERVICE
from tidegate.demo.report import TelemetryCount
from tidegate.demo.shop import FOLLOW_FLAGS
from tidegate.runtime.home import Home
from tidegate.runtime.supervise import Program, Supervisor

FLEET = "demo"
ZONES = "abc"
SETTLE_WITHIN_S = 20.0
TIDEGATE = (sys.executable, "-m", "tidegate.cli.main")
STATS_FOLDER = "SHOP_STATS"


class CommandFailed(Exception):
    """A command that the demo typed did not succeed; the text is what it printed."""


class Fleet:
    """Servers n1 to nN in three zones, and the control plane that looks after them. ``flagged``: the servers follow flags."""

    def __init__(
        self, folder: Path, servers: int, announce: Callable[[str], None], bootstrap: str | None = None, *, flagged: bool = False
    ) -> None:
        self._folder = folder
        self._announce = announce
        self._bootstrap = bootstrap or os.environ.get("TIDEGATE_BOOTSTRAP")
        self._nodes = [f"n{number}" for number in range(1, servers + 1)]
        self._home = Home(folder / "home", {})
        self._stats = folder / "stats"
        self._environment = {STATS_FOLDER: str(self._stats)} | ({FOLLOW_FLAGS: "1"} if flagged else {})
        self._broker: RunningBroker | None = None
        self._supervisor: Supervisor | None = None
        self.addresses = [("127.0.0.1", port) for port in free_ports(servers)]
        self.logs = self._home.logs

    @property
    def broker_kind(self) -> str:
        """``kafka``, ``user`` or ``mock``."""
        return self._broker.kind if self._broker else "none"

    async def start(self) -> None:
        """Start everything. What fails to start says so in its own log, under ``logs``."""
        self._broker = await find_broker(
            bootstrap=self._bootstrap,
            folder=self._folder / "kafka",
            allow_mock=True,
            announce=self._announce,
        )
        self._announce(self._broker.describe())
        prefix = "tidegate." if self._broker.kind != "user" else f"tidegate-demo-{os.getpid()}."
        nodes = [f"--node={node}={ZONES[number % len(ZONES)]}" for number, node in enumerate(self._nodes)]
        await self.command(
            "init", "--fleet", FLEET, "--bootstrap", self._broker.bootstrap, "--prefix", prefix, "--publish", *nodes
        )
        self._stats.mkdir()
        for node, (host, port) in zip(self._nodes, self.addresses, strict=True):
            self._configure(node, f"{host}:{port}")
        self.log = KafkaLog(Connection(self._broker.bootstrap, prefix), client_id="demo")
        await self.log.start()
        self._supervisor = Supervisor(list(self._programs()), logs=self.logs, state=self._home.state, announce=self._announce)
        await self._supervisor.start()
        self._announce(f"intake, judge, decide and {len(self._nodes)} node agents are starting; logs in {_shown(self.logs)}")

    async def command(self, *arguments: str) -> str:
        """Type one ``tidegate`` command; return what it printed. CommandFailed where its exit code is not 0."""
        process = await asyncio.create_subprocess_exec(
            *TIDEGATE,
            "--home",
            str(self._home.folder),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise CommandFailed(f"tidegate {' '.join(arguments)}\n{output.decode(errors='replace')}")
        return output.decode(errors="replace")

    async def settle(self) -> TelemetryCount:
        """End servers and node agents, wait until intake has read all they sent, and return the counts."""
        assert self._supervisor is not None  # noqa: S101 - started before
        await asyncio.gather(*(self._supervisor.end(f"node-{node}") for node in self._nodes))
        said = [json.loads(path.read_text()) for path in self._stats.iterdir()]
        said += [self._last_words(f"node-{node}") for node in self._nodes]
        made, dropped = sum(one["made"] for one in said), sum(one["dropped"] for one in said)
        accepted = deadlettered = 0
        deadline = asyncio.get_running_loop().time() + SETTLE_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            accepted, deadlettered = await asyncio.to_thread(self._intake_counts)
            if accepted + deadlettered + dropped >= made:
                break
            await asyncio.sleep(0.2)
        return TelemetryCount(sent=made, accepted=accepted, deadlettered=deadlettered, dropped=dropped)

    async def stop(self) -> None:
        """End everything that was started; safe to call at any point, and twice."""
        if self._supervisor is not None:
            await self._supervisor.stop()
        if log := getattr(self, "log", None):
            await log.close()
        if self._broker is not None:
            await self._broker.stop()

    def _programs(self) -> Iterator[Program]:
        role = (*TIDEGATE, "--home", str(self._home.folder))
        yield Program(name="intake", command=(*role, "worker", "intake", "--instance", FLEET))
        yield Program(name="judge", command=(*role, "worker", "judge", "--instance", FLEET))
        yield Program(name="decide", command=(*role, "decide"))
        for node in self._nodes:
            config = str(self._home.nodes / f"{node}.yaml")
            yield Program(
                name=f"node-{node}",
                command=(*role, "node", "--config", config, "--stop-services"),
                environment=self._environment,
            )

    def _configure(self, node: str, listen: str) -> None:
        path = self._home.nodes / f"{node}.yaml"
        config = yaml.safe_load(path.read_text())
        config["services"] = {
            SERVICE: {
                "executor": "process",
                "command": ["{python}", "{artifact}"],
                "listen": listen,
                "readiness": "notify",
                "readyWithin": "30s",
                "env": self._environment,
            }
        }
        path.write_text(yaml.safe_dump(config, sort_keys=False))

    def _last_words(self, name: str) -> dict[str, int]:
        """Return what a node agent logged of its own rows when it stopped."""
        for line in reversed(Path(self.logs, f"{name}.log").read_text(errors="replace").splitlines()):
            if '"agent stopped"' in line:
                event = json.loads(line)
                return {"made": event["rows_made"], "dropped": event["rows_dropped"]}
        return {"made": 0, "dropped": 0}

    def _intake_counts(self) -> tuple[int, int]:
        address = self._supervisor.address_of("intake") if self._supervisor else None
        counts = {"tidegate_intake_rows_accepted_total": 0, "tidegate_deadletters_total": 0}
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"{address}/metrics", timeout=5) as response:  # noqa: S310 - our own address
                text = response.read().decode()
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name in counts:
                        counts[sample.name] += int(sample.value)
        return counts["tidegate_intake_rows_accepted_total"], counts["tidegate_deadletters_total"]


def _shown(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
