"""The whole system at a secured broker, every role under its own principal: a release is promoted, and nobody asked for more
than the topic table gives.
"""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from tests.cli.kit import Result
from tests.kafka.secured.kit import MARKS, Installation, until

from tidegate.broker import KafkaLog
from tidegate.broker.local import free_ports
from tidegate.demo.checkout import FLAG, Sightings, write_flag
from tidegate.demo.load import Load
from tidegate.demo.shop import FOLLOW_FLAGS
from tidegate.ports import SendRefused

pytestmark = [*MARKS, pytest.mark.scenario, pytest.mark.thorough]

NODES = ("n1", "n2", "n3")
WITHIN_S = 90.0
RATE_PER_SERVER = 40.0
PROGRAM = "from tidegate.demo.shop import Behaviour, serve\n\nserve(Behaviour({version!r}))\n"
ROLES = ("intake", "judge", "experiment", "decide", "notify", "api", "bridge", *(f"node-{node}" for node in NODES))
DENIED = re.compile(r"Principal = User:tidegate-(\S+) is Denied operation = (\S+) .* on resource = (\S+)")


class Whole:
    """An installation under ``tidegate up``, with shops that publish telemetry and follow flags."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation = installation
        self.folder = folder
        self.addresses = [("127.0.0.1", port) for port in free_ports(len(NODES))]
        self.load = Load(self.addresses, RATE_PER_SERVER)

    @property
    def logs(self) -> Path:
        return self.installation.home / "logs"

    async def start(self) -> None:
        await asyncio.to_thread(self.installation.grant)
        await asyncio.to_thread(self.installation.type, "init", *(f"--node={node}" for node in NODES))
        bridge, dead = free_ports(2)
        settings = yaml.safe_load(self.installation.config.read_text())
        settings["bridge"] = {"port": bridge}
        settings["notify"] = {"targets": [{"kind": "alertmanager", "url": f"http://127.0.0.1:{dead}"}]}
        self.installation.config.write_text(yaml.safe_dump(settings))
        for node, (host, port) in zip(NODES, self.addresses, strict=True):
            path = self.installation.home / "nodes" / f"{node}.yaml"
            config = yaml.safe_load(path.read_text())
            env = {FOLLOW_FLAGS: "1"}
            shop = {"command": ["{python}", "{artifact}"], "listen": f"{host}:{port}", "readyWithin": "30s", "env": env}
            config["services"] = {"shop": shop}
            path.write_text(yaml.safe_dump(config))
        self.up = await self.begin("up")
        assert self.up.stdout is not None
        told: list[str] = []
        async with asyncio.timeout(WITHIN_S):
            while "Ctrl-C" not in "".join(told[-1:]):
                told.append((await self.up.stdout.readline()).decode())
        ready = [line.split()[0] for line in told if line.rstrip().endswith(" ready")]
        assert ready == list(ROLES), "".join(told)

    async def stop(self) -> None:
        await self.load.stop()
        self.up.send_signal(signal.SIGINT)
        async with asyncio.timeout(WITHIN_S):
            await self.up.communicate()

    async def begin(self, *arguments: str, home: Path | None = None, **variables: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tidegate.cli.main", "--home", str(home or self.installation.home), *arguments),
            env=os.environ | variables,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def type(self, *arguments: str, home: Path | None = None, **variables: str) -> Result:
        process = await self.begin(*arguments, home=home, **variables)
        async with asyncio.timeout(WITHIN_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    async def roll_out(self, version: str, stages: list[dict[str, object]]) -> Result:
        artifact = self.folder / f"{version}.py"
        artifact.write_text(PROGRAM.format(version=version))
        told = {"version": version, "uri": str(artifact)}
        plan = {"service": "shop", "artifact": told, "stages": stages, "maxUnavailable": "100%", "watch": "1s"}
        path = self.folder / f"{version}.yaml"
        path.write_text(yaml.safe_dump(plan))
        return await self.type("rollout", "start", str(path), "--wait", "--timeout", "80s")


@pytest.fixture
async def whole(installation: Installation, tmp_path: Path) -> AsyncIterator[Whole]:
    found = Whole(installation, tmp_path)
    try:
        await found.start()
        yield found
    finally:
        await found.stop()


async def test_a_release_is_promoted_with_every_role_under_its_own_principal(whole: Whole, say) -> None:
    installed = await whole.roll_out("v1", [{"setWeight": 100, "bake": "1s", "minRequests": 0}])
    assert (installed.code, installed.err) == (0, "")
    whole.load.start()
    stages = [{"setNodes": 1, "bake": "3s", "minRequests": 50}, {"setWeight": 100, "bake": "2s", "minRequests": 100}]
    promoted = await whole.roll_out("v2", stages)
    assert (promoted.code, promoted.err) == (0, "")
    assert whole.load.failed == 0

    seen = Sightings(len(NODES))
    whole.load.heard = seen.heard
    flag = write_flag(whole.folder, "express")
    flagged = await whole.type("flag", "set", FLAG, "-f", str(flag), "--reason", "a flag reaches services")
    assert (flagged.code, flagged.err) == (0, "")
    await until(lambda: seen.shown, WITHIN_S)

    # What a person does, also in other roles.
    others = {
        "an operator kills the flag": ("flag", "kill", FLAG, "--reason", "it was seen"),
        "an operator reads what the judge remembers": ("rollout", "plan", str(whole.folder / "v2.yaml")),
        "an operator asks for evidence": ("rollout", "explain", "shop"),
        "break-glass": ("breakglass", "pause", "shop", "--reason", "practice"),
        "an admin exports": ("export", str(whole.folder / "archive")),
        "an admin checks topics": ("topics", "check"),
    }
    for what, arguments in others.items():
        done = await whole.type(*arguments)
        assert done.code == 0, (what, done.out, done.err)
    token = await whole.type("keys", "token", "web-*")
    keys = whole.installation.home / "keys"
    variables = {
        "TIDEGATE__KAFKA__TLS__CA": str(keys / "ca.pem"),
        "TIDEGATE__KAFKA__SASL__USER": "tidegate-{role}",
        "TIDEGATE__KAFKA__SASL__PASSWORD": f"file:{keys}/tidegate-{{role}}",
    }
    joined = await whole.type("keys", "join", token.out.strip(), "--node", "web-1", home=whole.folder / "other", **variables)
    assert (joined.code, joined.err) == (0, "")

    forbidden = f"{whole.installation.prefix}desired"
    async with asyncio.timeout(WITHIN_S):
        with pytest.raises(SendRefused, match=forbidden):
            await KafkaLog(whole.installation.connection("judge"), client_id="test").append("desired", "svc/shop", b"{}")
    denied = {match.groups() for match in DENIED.finditer(whole.installation.broker.log.read_text())}
    mine = {row for row in denied if whole.installation.prefix in row[2]}
    assert mine == {("judge", "DESCRIBE", f"Topic:LITERAL:{forbidden}")}, "beside what was tried on purpose, nothing is refused"
    told = json.loads((await whole.type("doctor", "-o", "json")).out)
    # root.key is at hand here, and web-1 has joined and does not run.
    assert (told["problems"], {one["about"] for one in told["findings"]}) == (0, {"keys", "node web-1"}), told
    refusals = {
        path.name: lines
        for path in whole.logs.glob("*.log")
        if (lines := [line for line in path.read_text().splitlines() if "does not let" in line or "uthoriz" in line])
    }
    assert refusals == {}
    say(f"{len(ROLES)} processes and 3 shops, each role under its own principal: promoted; 0 refusals in the broker's log")
