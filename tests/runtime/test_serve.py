"""Metrics and health of a process."""

import asyncio
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import Counter

from tidegate.runtime import serve
from tidegate.runtime.problem import Problem
from tidegate.runtime.serve import ANNOUNCE, serving

SEEN = Counter("tidegate_test_seen", "What this test has seen.")


async def get(url: str) -> tuple[int, str]:
    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own address
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def test_metrics_are_served_at_a_free_port() -> None:
    SEEN.inc()
    async with serving("127.0.0.1", 0, lambda: None) as at:
        status, text = await get(f"{at.url}/metrics")
    assert status == 200
    assert "tidegate_test_seen_total 1.0" in text


async def test_readiness_says_why_not() -> None:
    why: list[str | None] = ["the log has not been read"]
    async with serving("127.0.0.1", 0, lambda: why[0]) as at:
        assert await get(f"{at.url}/readyz") == (503, "the log has not been read\n")
        why[0] = None
        assert await get(f"{at.url}/readyz?verbose=1") == (200, "ready\n")


async def test_who_is_ready_may_add_what_is_to_be_known() -> None:
    async with serving("127.0.0.1", 0, lambda: None, note=lambda: "of 12 s ago") as at:
        assert await get(f"{at.url}/readyz") == (200, "ready: of 12 s ago\n")


async def test_liveness_is_the_pulse_of_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving("127.0.0.1", 0, lambda: None) as at:
        assert await get(f"{at.url}/healthz") == (200, "ok\n")
        monkeypatch.setattr(serve, "STALLED_AFTER_S", -1.0)
        status, text = await get(f"{at.url}/healthz")
    assert status == 503
    assert "event loop has not run" in text


async def test_what_is_not_there_says_what_is() -> None:
    async with serving("127.0.0.1", 0, lambda: None) as at:
        assert await get(f"{at.url}/") == (404, "here are /metrics, /healthz and /readyz\n")


async def test_a_taken_port_is_a_problem_with_a_remedy() -> None:
    async with serving("127.0.0.1", 0, lambda: None) as at:
        with pytest.raises(Problem) as caught:
            async with serving("127.0.0.1", at.port, lambda: None):
                pass
    assert f"127.0.0.1:{at.port}: the port is in use" in caught.value.what
    assert "0 for any free one" in caught.value.remedy


async def test_the_port_is_free_again_afterwards() -> None:
    async with serving("127.0.0.1", 0, lambda: None) as first:
        pass
    async with serving("127.0.0.1", first.port, lambda: None) as second:
        assert second.port == first.port


async def test_the_address_is_left_where_the_supervisor_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ANNOUNCE, str(tmp_path / "role.address"))
    async with serving("127.0.0.1", 0, lambda: None) as at:
        assert (tmp_path / "role.address").read_text() == at.url + "\n"


async def test_who_connects_and_says_nothing_keeps_nobody_from_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "REQUEST_WITHIN_S", 0.5)
    async with serving("127.0.0.1", 0, lambda: None) as at:
        silent = [socket.create_connection(("127.0.0.1", at.port)) for _ in range(3)]
        silent[0].sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        assert await get(f"{at.url}/healthz") == (200, "ok\n")
        for one in silent:
            one.settimeout(20)
            assert await asyncio.to_thread(one.recv, 1) == b"", "its time is over, however slowly it goes on"
            one.close()


async def test_so_many_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "REQUESTS_MOST", 2)
    async with serving("127.0.0.1", 0, lambda: None) as at:
        held = [socket.create_connection(("127.0.0.1", at.port)) for _ in range(2)]
        with socket.create_connection(("127.0.0.1", at.port)) as further:
            further.settimeout(20)
            assert await asyncio.to_thread(further.recv, 1) == b""
        for one in held:
            one.close()


async def test_the_loopback_of_ipv6_is_served_too() -> None:
    async with serving("::1", 0, lambda: None) as at:
        assert (await get(f"{at.url}/healthz"))[0] == 200
