"""``tidegate up`` on a real broker: every role, one rollout, and nothing left behind."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
import yaml
from tests.cli.kit import Result

TIDEGATE = (sys.executable, "-m", "tidegate.cli.main")
PLAN = """
service: shop
artifact: {version: v1, path: shop-v1.tar}
stages: [{setWeight: 100, bake: 0s, minRequests: 0}]
maxUnavailable: 100%
watch: 0s
"""
WITHIN_S = 60.0


class Shell:
    """Types commands in a home of this test's own, on topics of its own."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.home = folder / "home"
        self.environment = {
            **os.environ,
            "TIDEGATE_HOME": str(self.home),
            "TIDEGATE_BOOTSTRAP": bootstrap,
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        }

    async def type(self, *arguments: str) -> Result:
        process = await self.start(*arguments)
        async with asyncio.timeout(WITHIN_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*TIDEGATE, *arguments, env=self.environment, stdout=pipe, stderr=pipe)


def of_this_home(home: Path) -> list[str]:
    """Command lines of the processes that name this home."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(home).encode() in words:
            found.append(b" ".join(words).decode())
    return found


@pytest.mark.kafka
async def test_up_runs_every_role_until_ctrl_c(tmp_path: Path, kafka: str) -> None:
    shell = Shell(tmp_path, kafka)
    made = await shell.type("init", "--fleet", "up", "--nodes", "2", "--prefix", f"up{os.getpid()}.")
    assert made.code == 0
    for path in (shell.home / "nodes").iterdir():
        path.write_text(path.read_text().replace("services: {}", "services: {shop: {executor: none}}"))
    for name in ("root.key", "breakglass.key"):
        (shell.home / "keys" / name).rename(tmp_path / name)
    (tmp_path / "shop-v1.tar").write_text("v1")
    (tmp_path / "plan.yaml").write_text(PLAN)

    up = await shell.start("up")
    assert up.stdout is not None
    told: list[str] = []
    try:
        async with asyncio.timeout(WITHIN_S):
            while "Ctrl-C" not in "".join(told[-1:]):
                told.append((await up.stdout.readline()).decode())
        assert sum(line.rstrip().endswith(" ready") for line in told) == 7, told
        config = yaml.safe_load((shell.home / "config.yaml").read_text())
        assert f"OFREP http://127.0.0.1:{config['api']['port']}" in "".join(told)
        assert f"flagd's sync 127.0.0.1:{config['api']['sync']}" in "".join(told)
        assert "your cluster" in told[0]

        second = await shell.type("up")
        assert (second.code, "another tidegate up runs" in second.err) == (1, True)
        assert (shell.home / "state" / "broker").exists()
        checked = await shell.type("topics", "check")
        assert (checked.code, checked.err) == (0, "")
        started = await shell.type("rollout", "start", str(tmp_path / "plan.yaml"), "--wait", "--timeout", "40s")
        assert (started.code, started.err) == (0, "")
        healthy = await shell.type("doctor", "--strict")
        assert (healthy.code, healthy.out, healthy.err) == (0, "nothing to mend\n", "")
        nodes = json.loads((await shell.type("fleet", "list", "-o", "json")).out)
        assert [(row["node"], row["version"], row["state"]) for row in nodes] == [
            ("node-1", "v1", "ready"),
            ("node-2", "v1", "ready"),
        ]
    finally:
        up.send_signal(signal.SIGINT)
        async with asyncio.timeout(WITHIN_S):
            out, err = await up.communicate()
    assert (up.returncode, out.decode().split()[-1]) == (0, "stopped"), err.decode()
    assert of_this_home(shell.home) == []
    assert not (shell.home / "state" / "broker").exists()
    ended = json.loads((await shell.type("doctor", "-o", "json")).out)
    assert "decide" in {one["about"] for one in ended["findings"]}  # a worker's place is kept for some seconds


@pytest.mark.kafka
async def test_keys_are_published_once_and_two_homes_do_not_share_a_prefix(tmp_path: Path, kafka: str) -> None:
    prefix = f"two{os.getpid()}."
    first, second = Shell(tmp_path / "a", kafka), Shell(tmp_path / "b", kafka)
    published = await first.type("init", "--nodes", "1", "--prefix", prefix, "--publish")
    assert "published 2 documents" in published.out
    assert "is as it should be" in (await first.type("init", "--nodes", "1", "--publish")).out
    refused = await second.type("init", "--prefix", prefix, "--publish")
    assert refused.code == 1
    assert "another installation uses this cluster" in refused.err


async def test_up_can_be_stopped_while_it_waits_for_a_broker_and_says_in_one_line_that_it_waits(tmp_path: Path) -> None:
    shell = Shell(tmp_path, "127.0.0.1:1")
    assert (await shell.type("init", "--nodes", "1")).code == 0
    up = await shell.start("up")
    assert up.stderr is not None
    try:
        async with asyncio.timeout(WITHIN_S):
            told = (await up.stderr.readline()).decode()
            up.send_signal(signal.SIGINT)
            out, more = await up.communicate()
    finally:
        if up.returncode is None:
            up.kill()
    assert "broker does not answer" in told
    assert more == b""
    assert (up.returncode, out.decode().split()[-1]) == (0, "stopped")
