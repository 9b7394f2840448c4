"""What systemd would hear, at a socket as systemd's."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.runtime import service_manager
from tidegate.runtime.serve import serving
from tidegate.runtime.service_manager import tell

WITHIN_S = 10.0
SILENCE_S = 0.3


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    monkeypatch.setattr(service_manager, "BEAT_EVERY_S", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(WITHIN_S)
        yield listening


def heard(manager: socket.socket) -> str:
    return manager.recv(4096).decode()


async def hears(manager: socket.socket, line: str) -> list[str]:
    """Everything up to a line, while the loop runs."""
    lines = [await asyncio.to_thread(heard, manager)]
    while lines[-1] != line:
        lines.append(await asyncio.to_thread(heard, manager))
    return lines


def hang(manager: socket.socket) -> None:
    """Read what is waiting; then the loop's own thread waits for a sign that only the loop could give."""
    while True:
        heard(manager)


async def test_ready_is_said_once_and_when_nothing_is_missing(manager: socket.socket) -> None:
    why: list[str | None] = ["waiting\nfor the broker"]
    async with serving("127.0.0.1", 0, lambda: why[0]):
        assert await hears(manager, "EXTEND_TIMEOUT_USEC=30000000") == [
            "STATUS=waiting for the broker",
            "EXTEND_TIMEOUT_USEC=30000000",
        ]
        why[0] = None
        assert (await hears(manager, "WATCHDOG=1"))[-3:] == ["READY=1", "STATUS=ready", "WATCHDOG=1"]
        why[0] = "its key is revoked"
        lines = await hears(manager, "STATUS=its key is revoked") + await hears(manager, "WATCHDOG=1")
    lines += await hears(manager, "STOPPING=1")
    assert {*lines} == {"WATCHDOG=1", "STATUS=its key is revoked", "STOPPING=1"}


async def test_a_loop_that_hangs_gives_no_sign_of_life(manager: socket.socket) -> None:
    async with serving("127.0.0.1", 0, lambda: None):
        await hears(manager, "WATCHDOG=1")
        manager.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            hang(manager)
        manager.settimeout(WITHIN_S)
        assert await hears(manager, "WATCHDOG=1")


@pytest.mark.parametrize("left", ["", "nobody"], ids=["nobody asks", "who asked is gone"])
async def test_nobody_is_told_where_nobody_listens(left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / left) if left else "")
    tell("READY=1")
    async with serving("127.0.0.1", 0, lambda: None) as at:
        assert at.port
