"""A flag as a person types it, on a real broker: set, killed, evaluated, exported by what is published, and many at once."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest
from tests.cli.test_kafka import running
from tests.cli.test_up import TIDEGATE, Shell

from tidegate.broker import Connection, delete_topics
from tidegate.wire.topics import BY_NAME

DARK = """
spec:
  definition: {state: ENABLED, variants: {"on": true, "off": false}, defaultVariant: "on"}
  safeVariant: "off"
  immediate: true
"""
FLAG = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
MANY = 200
SLOW = DARK.replace("immediate: true", "guard: [shop]") + "ramp: {stages: [{setWeight: 10, bake: 1h}, {setWeight: 100}]}\n"


@pytest.mark.kafka
async def test_a_flag_is_set_killed_and_evaluated_by_what_is_published_and_many_are_imported_in_seconds(
    tmp_path: Path, kafka: str, say
) -> None:
    prefix = f"flag{os.getpid()}."
    shell = Shell(tmp_path, kafka)
    shell.environment["TIDEGATE__LOG__LEVEL"] = "warning"  # nobody reads what decide says of each flag
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
            (tmp_path / "slow.yaml").write_text(SLOW)
            done = await shell.type("flag", "set", "web/slow", "-f", str(tmp_path / "slow.yaml"), "--reason", "carefully")
            assert (done.code, done.err) == (0, "")
            picture, code, err = await watched(shell, "flag", "ramp", "web/slow", "--watch", until=b"bakes for")
            assert (code, err.strip()) == (130, "")
            assert b"ramping 10 %, stage 1/2" in picture
            (tmp_path / "flags.json").write_text(json.dumps({"flags": {f"f{number}": FLAG for number in range(MANY)}}))
            loaded_s = await load(shell, tmp_path / "flags.json")
        exported = await shell.type("flag", "export", "--set", "web")
        assert json.loads(exported.out)["flags"]["dark"]["defaultVariant"] == "off"
        answered_ms = json.loads(killed.out)["answered_ms"]
        say(f"flag kill: answered after {answered_ms} ms, the whole command {whole_s:.1f} s")
        say(f"flag import: {MANY} flags, the whole command {loaded_s:.1f} s")
    finally:
        await delete_topics(Connection(kafka, prefix), tuple(BY_NAME))


async def load(shell: Shell, path: Path) -> float:
    """Import a file of many flags, and once more; return how long the first took, in s."""
    words = ("flag", "import", str(path), "--set", "many", "--immediate", "--reason", "they move")
    began_s = time.monotonic()
    done = await shell.type(*words)
    took_s = time.monotonic() - began_s
    assert (done.code, done.out.splitlines()[-1]) == (0, f"{MANY} set")
    assert (await shell.type(*words)).out.splitlines()[-1] == f"{MANY} unchanged"
    return took_s


async def watched(shell: Shell, *arguments: str, until: bytes) -> tuple[bytes, int | None, str]:
    """Look at a command on a terminal until it shows something, then press Ctrl-C; return the picture, exit code and errors."""
    mine, its = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *TIDEGATE, *arguments, env=shell.environment, stdout=its, stderr=asyncio.subprocess.PIPE
    )
    os.close(its)
    picture = b""
    try:
        async with asyncio.timeout(60):
            while until not in picture:
                picture += await asyncio.to_thread(os.read, mine, 4096)
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
    finally:
        os.close(mine)
    return picture, process.returncode, err.decode()
