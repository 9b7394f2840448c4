"""How a role ends."""

import asyncio

import pytest
from structlog.testing import capture_logs

from tidegate.runtime.stopping import Stopped, run_until, unless


async def test_work_that_is_asked_to_end_comes_to_its_own_end() -> None:
    stop, asked, said = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        await asked.wait()
        said.append("ended")

    async def end() -> None:
        asked.set()

    stop.set()
    await run_until(stop, work(), end)
    assert said == ["ended"]


async def test_work_that_does_not_end_is_cancelled() -> None:
    stop = asyncio.Event()
    stop.set()

    async def end() -> None:
        """It does not listen."""

    with capture_logs() as said:
        await run_until(stop, asyncio.sleep(3600), end, within_s=0.01)
    assert said == [{"event": "given up", "log_level": "warning", "problem": "it did not end within 0.01 s"}]


async def test_a_crash_is_raised() -> None:
    async def work() -> None:
        raise RuntimeError("broken")

    async def end() -> None:
        """Nothing."""

    with pytest.raises(RuntimeError, match="broken"):
        await run_until(asyncio.Event(), work(), end)


async def test_what_is_being_started_is_given_up_when_a_signal_comes_and_tidies_up_first() -> None:
    stop, begun, said = asyncio.Event(), asyncio.Event(), []

    async def start() -> None:
        try:
            begun.set()
            await asyncio.sleep(3600)
        finally:
            said.append("tidied")

    starting = asyncio.ensure_future(unless(stop, start()))
    await begun.wait()
    stop.set()
    with pytest.raises(Stopped):
        await starting
    assert said == ["tidied"]


async def test_what_was_started_is_returned_and_what_failed_is_raised() -> None:
    assert await unless(asyncio.Event(), asyncio.sleep(0, "broker")) == "broker"

    async def fail() -> None:
        raise RuntimeError("no port")

    with pytest.raises(RuntimeError, match="no port"):
        await unless(asyncio.Event(), fail())
