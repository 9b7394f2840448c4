"""Policies, a gate that asks outside, and the replay of what was decided, as a person types them, on a real broker."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from tests.cli.test_up import Shell

from tidegate.broker import Connection, delete_topics
from tidegate.wire.topics import BY_NAME

POLICY = "name: production\nservices: [shop]\nrollbackBudget: {rollbacks: 3, within: 1h}\ndwell: 1s\n"
PLAN = """
service: shop
artifact: {version: v1, path: shop-v1.tar}
stages:
  - {setNodes: 1, bake: 0s, minRequests: 0, pause: {ask: outside, duration: 1m, default: rollback}}
  - {setWeight: 100, bake: 0s, minRequests: 0}
maxUnavailable: 100%
watch: 0s
"""
ANSWER = "import json, sys; q = json.load(sys.stdin); open({said!r}, 'a').write(q['version']); print('looks well')"


@contextlib.asynccontextmanager
async def running(shell: Shell, *roles: tuple[str, ...]) -> AsyncIterator[None]:
    processes = [await shell.start(*role) for role in roles]
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0] * len(processes)


async def reported(shell: Shell) -> None:
    """Return when every node has reported: a plan that comes before is refused, for there is nobody to bring anything to."""
    async with asyncio.timeout(30):
        while True:
            nodes = json.loads((await shell.type("fleet", "list", "-o", "json")).out)
            if all(node["node_state"] == "reachable" for node in nodes):
                return


@pytest.mark.kafka
async def test_a_policy_a_gate_and_a_rollout_to_its_end_are_derived_again_from_the_topics(
    tmp_path: Path, kafka: str, say
) -> None:
    prefix = f"whole{os.getpid()}."
    shell = Shell(tmp_path, kafka)
    began_s = time.monotonic()
    try:
        assert (await shell.type("init", "--nodes", "1", "--prefix", prefix, "--publish")).code == 0
        for path in (shell.home / "nodes").iterdir():
            path.write_text(path.read_text().replace("services: {}", "services: {shop: {executor: none}}"))
        config = yaml.safe_load((shell.home / "config.yaml").read_text())
        said = tmp_path / "said"
        program = ANSWER.format(said=str(said))
        config["notify"] = {"gates": [{"kind": "command", "name": "outside", "command": [sys.executable, "-c", program]}]}
        (shell.home / "config.yaml").write_text(yaml.safe_dump(config))
        (tmp_path / "shop-v1.tar").write_text("v1")
        (tmp_path / "plan.yaml").write_text(PLAN)
        (tmp_path / "policy.yaml").write_text(POLICY)
        node = ("node", "--config", str(shell.home / "nodes/node-1.yaml"))

        async with running(shell, ("decide",), ("notify",), node):
            policy = await shell.type("policy", "set", str(tmp_path / "policy.yaml"))
            assert (policy.code, policy.err) == (0, "")
            await reported(shell)
            started = await shell.type("rollout", "start", str(tmp_path / "plan.yaml"), "--wait", "--timeout", "40s")
            assert (started.code, started.err) == (0, ""), started.out
        replayed = await shell.type("replay", "decisions", "-o", "json")
        assert replayed.code == 0, replayed.out
        found = json.loads(replayed.out)
        assert (found["found"], found.get("unchecked", 0), found["takeovers"]) == ([], 0, 1)
        assert found["derived"] == found["records"] - 1
        assert said.read_text() == "v1"
        say(f"init, policy, gate, rollout and replay of {found['records']} decisions: {time.monotonic() - began_s:.1f} s")
    finally:
        await delete_topics(Connection(kafka, prefix), tuple(BY_NAME))
