"""``tidegate api`` as a person types it, and as a process without broker."""

import asyncio
import signal
from pathlib import Path

import pytest
import yaml
from tests.cli.kit import World
from tests.cli.test_up import Shell
from tests.node.kit import free_port
from tests.runtime.test_serve import get


@pytest.fixture
async def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path, "127.0.0.1:1")
    assert (await shell.type("init", "--nodes", "1")).code == 0
    return shell


def test_a_token_is_printed_once_listed_by_name_and_revoked(world: World) -> None:
    made = world.type("api", "token", "page", "--set", "web")
    assert (made.code, made.out.startswith("tgapi_")) == (0, True)
    (row,) = world.type("api", "tokens", "-o", "json").json
    assert row == {"name": "page", "sets": ["web"], "role": "", "scopes": [], "expires": ""}
    again = world.type("api", "token", "page")
    assert (again.code, "api revoke page" in again.err) == (1, True)
    assert world.type("api", "token", "a b").code == 2
    assert world.type("api", "revoke", "page").code == 0
    gone = world.type("api", "revoke", "page")
    assert (gone.code, "has no token page" in gone.err) == (1, True)


def test_a_token_has_a_role_scopes_and_an_end(world: World) -> None:
    scopes = ("--scope", "shop-*:pause,abort", "--scope", "flag/web/*")
    made = world.type("api", "token", "ci", "--role", "operator", *scopes, "--expires", "30d")
    assert made.code == 0
    (row,) = world.type("api", "tokens", "-o", "json").json
    assert (row["role"], row["scopes"], row["expires"].endswith("Z")) == ("operator", ["shop-*:pause,abort", "flag/web/*"], True)
    for wrong in (
        ("--role", "king"),
        ("--scope", "shop"),
        ("--role", "viewer", "--scope", "shop:dance"),
        ("--role", "viewer", "--scope", "a b"),
    ):
        refused = world.type("api", "token", "other", *wrong)
        assert refused.code == 2, wrong


async def test_without_broker_it_says_that_it_is_not_ready_and_ends_at_once(shell: Shell) -> None:
    path = shell.home / "config.yaml"
    config = yaml.safe_load(path.read_text())
    health = free_port()
    path.write_text(yaml.safe_dump(config | {"api": {"port": 0, "sync": 0}, "http": {"api": health}}))
    process = await shell.start("api")
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            told = ""
            while "flags are served" not in told:
                line = (await process.stderr.readline()).decode()
                assert line, told
                told += line
            assert "only this machine is served" in told
            status = 0
            while status != 503:
                try:
                    status, text = await get(f"http://127.0.0.1:{health}/readyz")
                except OSError:
                    await asyncio.sleep(0.05)  # it begins right after the servers
            assert "flags were not read yet" in text
            status, text = await get(f"http://127.0.0.1:{health}/metrics")
            assert (status, "tidegate_api_flags_age_seconds NaN" in text) == (200, True)
            process.send_signal(signal.SIGTERM)
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
