"""A flag as a person types it, on a real broker: set, killed, evaluated and exported by what is published."""

import json
import os
import time
from pathlib import Path

import pytest
from tests.cli.test_kafka import running
from tests.cli.test_up import Shell

from tidegate.broker import Connection, delete_topics
from tidegate.wire.topics import BY_NAME

DARK = """
spec:
  definition: {state: ENABLED, variants: {"on": true, "off": false}, defaultVariant: "on"}
  safeVariant: "off"
  immediate: true
"""


@pytest.mark.kafka
async def test_a_flag_is_set_killed_and_evaluated_by_what_is_published(tmp_path: Path, kafka: str, say) -> None:
    prefix = f"flag{os.getpid()}."
    shell = Shell(tmp_path, kafka)
    try:
        assert (await shell.type("init", "--nodes", "1", "--prefix", prefix, "--publish")).code == 0
        (tmp_path / "dark.yaml").write_text(DARK)
        async with running(shell, ("decide",)):
            done = await shell.type("flag", "set", "web/dark", "-f", str(tmp_path / "dark.yaml"), "--reason", "night")
            assert (done.code, done.err) == (0, "")
            began_s = time.monotonic()
            killed = await shell.type("flag", "kill", "web/dark", "--reason", "it burns", "-o", "json")
            whole_s = time.monotonic() - began_s
            assert (killed.code, killed.err) == (0, "")
            seen = await shell.type("flag", "eval", "web/dark", "-o", "json")
            assert (json.loads(seen.out)["variant"], json.loads(seen.out)["metadata"]) == ("off", {"killed": True})
        exported = await shell.type("flag", "export", "--set", "web")
        assert json.loads(exported.out)["flags"]["dark"]["defaultVariant"] == "off"
        answered_ms = json.loads(killed.out)["answered_ms"]
        say(f"flag kill: answered after {answered_ms} ms, the whole command {whole_s:.1f} s")
    finally:
        await delete_topics(Connection(kafka, prefix), tuple(BY_NAME))
