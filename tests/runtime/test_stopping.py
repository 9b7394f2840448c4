"""How a role ends."""

import asyncio

import pytest

from tidegate.runtime.stopping import run_until


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

    await run_until(stop, asyncio.sleep(3600), end, within_s=0.01)


async def test_a_crash_is_raised() -> None:
    async def work() -> None:
        raise RuntimeError("broken")

    async def end() -> None:
        """Nothing."""

    with pytest.raises(RuntimeError, match="broken"):
        await run_until(asyncio.Event(), work(), end)
