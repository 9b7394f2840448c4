"""The promises of ``Executor``, kept by every one of them: ours, and one that a package brings by an entry point."""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from tests.node.benches import BENCHES, install_sample, missing
from tests.node.kit import until

from tidegate.node import FetchFailed, Late, StartFailed

LIFE = Path(__file__).with_name("life_main.py")
ROOTS = ("schemas", "streams", "agents", ".")
IN_A_PROCESS = tuple(word for word in BENCHES if word != "none")
EACH_STEP = [pytest.param(word, marks=[pytest.mark.thorough] * (word == "hooks")) for word in IN_A_PROCESS]
"""Hooks take the longest, and their releases are written as those of ``symlink`` are."""


@pytest.fixture
async def bench(request, tmp_path, monkeypatch):
    monkeypatch.setattr("tidegate.node.executors.deployment.STATUS_EVERY_S", 0.1)
    if request.param == "sample":
        packages = tmp_path / "packages"
        packages.mkdir()
        monkeypatch.syspath_prepend(install_sample(packages))
        monkeypatch.delitem(sys.modules, "sample_executor", raising=False)
    bench = BENCHES[request.param](tmp_path)
    yield bench
    await bench.end()


every = pytest.mark.parametrize("bench", BENCHES, indirect=True)


@every
async def test_where_nothing_was_started_nothing_runs(bench):
    executor = await bench.life()
    assert executor.running("shop") is None
    assert await executor.measure("shop") == ""
    await executor.stop("shop")
    await executor.close()


@every
async def test_only_what_was_fetched_is_held_and_what_is_not_there_is_told(bench):
    executor = await bench.life()
    artifact = bench.artifact("1")
    assert not executor.holds(artifact)
    await executor.fetch(artifact, ())
    assert executor.holds(artifact)
    gone = missing(artifact, executor)
    with pytest.raises(FetchFailed):
        await executor.fetch(gone, (artifact,))
    assert executor.holds(artifact)
    assert not executor.holds(gone)
    await executor.close()


@every
async def test_a_swap_lets_the_new_version_run_in_place_of_the_old(bench):
    executor = await bench.life()
    for version in "12":
        artifact = bench.artifact(version)
        await bench.launch(executor, artifact, token=f"token-{version}")
        running = executor.running("shop")
        assert (running.artifact, running.token, running.ready_ms > 0) == (artifact, f"token-{version}", True)
        await until(lambda: bench.copies() == 1)
        assert await bench.serves() == version
        assert await executor.measure("shop") == artifact.sha256
    assert bench.exits == []
    await executor.stop("shop")
    await executor.close()


@every
async def test_the_same_version_anew_is_another_life(bench):
    executor = await bench.life()
    artifact = bench.artifact("1")
    await bench.launch(executor, artifact)
    before = executor.running("shop").boot
    await bench.launch(executor, artifact, token="again")
    running = executor.running("shop")
    assert running.token == "again"
    assert running.boot != before
    await until(lambda: bench.copies() == 1)
    await executor.stop("shop")
    await executor.close()


@every
async def test_a_start_that_is_late_touches_nothing(bench):
    """F1, story 29368: a machine that stood still after all else was asked began an advance whose time was over."""
    executor = await bench.life()
    artifact = bench.artifact("1")
    await bench.launch(executor, artifact, before_ms=1 << 60)
    before = executor.running("shop")
    with pytest.raises(Late):
        await bench.launch(executor, bench.artifact("2"), before_ms=1)
    assert executor.running("shop") == before
    assert await bench.serves() == "1"
    assert bench.exits == []
    await executor.stop("shop")
    await executor.close()


@every
async def test_a_start_that_fails_says_why_and_what_ran_runs(bench):
    executor = await bench.life()
    with pytest.raises(StartFailed):
        await bench.launch(executor, bench.artifact("0", broken=True))
    assert executor.running("shop") is None
    assert await bench.serves() == ""
    artifact = bench.artifact("1")
    await bench.launch(executor, artifact)
    with pytest.raises(StartFailed) as failed:
        await bench.launch(executor, bench.artifact("2", broken=True))
    assert bench.word == "none" or "no such table" in str(failed.value)
    assert executor.running("shop").artifact == artifact
    assert await executor.measure("shop") == artifact.sha256
    await until(lambda: bench.copies() == 1)
    assert await bench.serves() == "1"
    assert bench.exits == []
    await executor.stop("shop")
    await executor.close()


@every
async def test_what_must_not_run_again_is_not_put_back_by_a_start_that_fails(bench):
    executor = await bench.life()
    await bench.launch(executor, bench.artifact("2"))
    before = executor.running("shop").boot
    with pytest.raises(StartFailed):
        await bench.launch(executor, bench.artifact("1", broken=True), put_back=False)
    for _ in range(2):
        running = executor.running("shop")
        assert running is None or running.boot == before, "it is gone, or it never stopped"
        assert await bench.serves() == ("2" if running else "")
        await executor.close()
        executor = await bench.life()
    await executor.stop("shop")
    await executor.close()


@pytest.mark.parametrize("bench", ["process", "none"], indirect=True)
async def test_a_probe_tells_whether_a_version_starts_and_changes_nothing(bench):
    executor = await bench.life()
    old = bench.artifact("1")
    await bench.launch(executor, old)
    before = executor.running("shop").boot
    await bench.launch(executor, old, how="probe")
    with pytest.raises(StartFailed):
        await bench.launch(executor, bench.artifact("2", broken=True), how="probe")
    probe = asyncio.ensure_future(bench.launch(executor, bench.artifact("3", slow_s=5), how="probe"))
    await asyncio.sleep(0.3)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    await until(lambda: bench.copies() == 1)
    assert (executor.running("shop").boot, await bench.serves(), bench.exits) == (before, "1", [])
    await executor.stop("shop")
    await executor.close()


@every
async def test_a_cancelled_swap_leaves_what_it_says(bench):
    executor = await bench.life()
    await bench.launch(executor, bench.artifact("1"))
    swap = asyncio.ensure_future(bench.launch(executor, bench.artifact("2", slow_s=5)))
    await asyncio.sleep(0.3)
    for _ in range(3):  # whoever wants it to end says so again and again
        swap.cancel()
        await asyncio.sleep(0.01)
        running = executor.running("shop")
        assert running is None or running.artifact.version in "12", "asking is allowed at any time"
    await asyncio.gather(swap, return_exceptions=True)
    version = executor.running("shop").artifact.version
    assert version == "1" or bench.word in ("none", "sample"), "these two are done at once"
    await until(lambda: bench.copies() == 1)
    assert await bench.serves() == version
    await executor.stop("shop")
    await executor.close()


@every
async def test_the_next_life_adopts_what_runs(bench):
    executor = await bench.life()
    artifact = bench.artifact("1")
    await bench.launch(executor, artifact, token="t")
    before = executor.running("shop")
    await executor.close()
    assert await bench.serves() == "1"
    executor = await bench.life()
    assert executor.running("shop") == before
    assert await executor.measure("shop") == artifact.sha256
    assert bench.exits == []
    await executor.stop("shop")
    await executor.close()


@every
async def test_an_end_that_nobody_ordered_is_told(bench):
    executor = await bench.life()
    await bench.launch(executor, bench.artifact("1"))
    bench.crash(executor)
    await until(lambda: bench.exits)
    assert executor.running("shop") is None
    assert len(bench.exits) == 1
    await bench.launch(executor, bench.artifact("1"))
    assert await bench.serves() == "1"
    await executor.stop("shop")
    await executor.close()


@every
async def test_after_stop_nothing_runs(bench):
    executor = await bench.life()
    await bench.launch(executor, bench.artifact("1"))
    await executor.stop("shop")
    assert executor.running("shop") is None
    assert await executor.measure("shop") == ""
    assert await bench.serves() == ""
    assert bench.copies() == 0
    assert bench.exits == []
    await executor.close()


@pytest.mark.parametrize("bench", EACH_STEP, indirect=True)
async def test_a_kill_9_before_any_step_of_a_swap_is_mended_by_adopt(bench, say):
    executor = await bench.life()
    await bench.launch(executor, bench.artifact("0"))
    await executor.close()
    config, path = bench.folder / "config.json", bench.folder / "artifact"
    config.write_bytes(msgspec.json.encode(bench.config))
    before, ended = "0", {}
    async with lives() as lived:
        for step in itertools.count(1):
            artifact = bench.artifact(str(step))
            path.write_bytes(msgspec.json.encode(artifact))
            if await lived(config, path, f"life-{step}", step):
                break
            executor = await bench.life()
            running = executor.running("shop")
            assert running is not None, f"step {step}"
            assert running.artifact.version in (before, str(step)), f"step {step}"
            await until(lambda: bench.copies() == 1, what=f"one copy after a kill before step {step}")
            assert await bench.serves() == running.artifact.version, f"step {step}"
            assert await executor.measure("shop") == running.artifact.sha256, f"step {step}"
            before = ended[step] = running.artifact.version
            await executor.close()
    say(f"{bench.word}: killed before each of {len(ended)} steps, {before} at last")
    assert bench.exits == []
    executor = await bench.life()
    assert executor.running("shop").artifact == artifact
    await executor.stop("shop")
    await executor.close()


@contextlib.asynccontextmanager
async def lives() -> AsyncIterator[Callable[..., Awaitable[bool]]]:
    """Let lives be lived, each in a process of its own; the answer is whether it came to its end."""
    root = Path(__file__).parents[2]
    places = [*(str(root / one) for one in ROOTS), *(one for one in sys.path if one.endswith("packages") and "site" not in one)]
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        str(LIFE),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )

    async def lived(*words: object) -> bool:
        parent.stdin.write(f"{' '.join(map(str, words))}\n".encode())
        code = int(await parent.stdout.readline())
        assert code in (0, -signal.SIGKILL), f"ended with {code}"
        return code == 0

    yield lived
    parent.stdin.close()
    await parent.wait()
