"""Executor ``symlink``, on a real server that a shell script restarts: link, environment, drift, and the way back."""

import asyncio
import errno
import os
import shutil
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.node.benches import SymlinkBench
from tests.node.kit import until
from tests.node.released import STOP, Unit, artifact_of, tarred

from tidegate.node import ConfigError, Launch, StartFailed, StopFailed
from tidegate.node.executors.registry import executors_of
from tidegate.ports import SystemClock, SystemDisk


class Bench(SymlinkBench):
    changes: dict = {}  # noqa: RUF012 - given before it is made

    def service(self):
        super().service()
        return self.unit.symlink(**self.changes)

    @property
    def releases(self) -> Path:
        return self.unit.folder / "releases"

    @property
    def current(self) -> str:
        return str((self.unit.folder / "current").readlink())

    def names(self) -> set[str]:
        return {one.name.partition("-")[0] for one in self.releases.iterdir()}


@pytest.fixture
async def bench(tmp_path, request, monkeypatch):
    monkeypatch.setattr("tidegate.node.executors.deployment.STATUS_EVERY_S", 0.1)
    monkeypatch.setattr(Bench, "changes", getattr(request, "param", {}))
    bench = Bench(tmp_path)
    yield bench
    await bench.end()


@pytest.fixture
async def executor(bench):
    executor = await bench.life()
    yield executor
    await executor.close()


async def test_the_environment_changes_with_the_link(bench, executor):
    for version in "12":
        await bench.launch(executor, bench.artifact(version), token="t")
        told = (bench.unit.folder / "current/.tidegate/env").read_text()
        assert f"TIDEGATE_VERSION={version}\n" in told
        assert f"TIDEGATE_BOOT={executor.running('shop').boot}\n" in told
        assert "TIDEGATE_NODE=n1\n" in told
        assert f"tidegate.node=n1,tidegate.version={version}," in told
    mode = (bench.unit.folder / "current/.tidegate/env").stat().st_mode
    assert stat.S_IMODE(mode) == 0o640, "what a service is told may be secret"


@pytest.mark.parametrize("how", ["link", "file", "new file", "mode", "gone", "unpointed"])
async def test_what_a_person_changes_by_hand_is_measured(bench, executor, how):
    old, new = bench.artifact("1"), bench.artifact("2")
    for artifact in (old, new):
        await bench.launch(executor, artifact)
    assert await executor.measure("shop") == new.sha256
    place = bench.unit.folder / bench.current
    if how in ("link", "unpointed"):
        (bench.unit.folder / "current").unlink()
        if how == "link":
            (bench.unit.folder / "current").symlink_to(next(one for one in bench.releases.iterdir() if one.name.startswith("1-")))
    elif how == "file":
        before = (place / "version").stat()
        (place / "version").write_text("3")
        os.utime(place / "version", ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "new file":
        (place / "more").touch()
    elif how == "mode":
        (place / "version").chmod(0o755)
    else:
        (place / "version").unlink()
    assert await executor.measure("shop") == (old.sha256 if how == "link" else "")


@pytest.mark.parametrize("bench", [{"keep": 2}], indirect=True)
async def test_old_releases_go_and_what_may_be_needed_again_stays(bench, executor):
    artifacts = [bench.artifact(str(number)) for number in range(7)]
    for artifact in artifacts:
        await executor.fetch(artifact, [artifacts[0]])
        await executor.swap(Launch(service="shop", artifact=artifact, boot=artifact.version))
    assert bench.names() == {"0", "3", "4", "5", "6"}, "what is kept, two old ones, the one before, the one that runs"
    with pytest.raises(StartFailed):
        await bench.launch(executor, bench.artifact("7", broken=True))
    assert await bench.serves() == "6"


async def test_a_failed_restart_points_back_and_starts_what_ran_as_another_life(bench, executor):
    await bench.launch(executor, bench.artifact("1"))
    before, boot = bench.current, executor.running("shop").boot
    with pytest.raises(StartFailed, match=r"ScriptFailed: .* failed with exit code 3:\n.*no such table"):
        await bench.launch(executor, bench.artifact("2", broken=True))
    assert bench.current == before
    assert executor.running("shop").boot != boot, "rows of two lives under one name would be taken for duplicates"
    assert executor.running("shop").boot in (bench.unit.folder / "current/.tidegate/env").read_text()
    assert await bench.serves() == "1"


async def test_a_start_that_fails_before_it_touched_anything_lets_what_runs_be(bench, executor, monkeypatch):
    """A release that took the last room on the disk: what ran was said to have ended, and served on."""
    await bench.launch(executor, bench.artifact("1"))
    before, sync = executor.running("shop"), os.fsync

    def full(fd):
        if Path(f"/proc/self/fd/{fd}").readlink().name == "env.new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(fd)

    monkeypatch.setattr(os, "fsync", full)
    for put_back in (True, False):
        with pytest.raises(StartFailed, match=r"No space left on device$"):
            await bench.launch(executor, bench.artifact("2"), put_back=put_back)
        assert (executor.running("shop"), bench.exits) == (before, [])
    assert await bench.serves() == "1"


@pytest.mark.parametrize("bench", [{"ready_within": "700ms"}], indirect=True)
async def test_a_restart_that_takes_too_long_is_ended_with_all_it_started(bench, executor):
    await bench.launch(executor, bench.artifact("1"))
    with pytest.raises(StartFailed, match="did not end within"):
        await bench.launch(executor, bench.artifact("2", slow_s=30))
    assert await bench.serves() == "1"
    assert bench.unit.commands() == []


@pytest.mark.parametrize(("restart", "said"), [(["/no/such/program"], "ScriptMissing"), (["/etc/passwd"], "ScriptNotExecutable")])
async def test_a_restart_command_that_is_none_is_named(bench, restart, said):
    bench.config.services["shop"].options.update(restart=restart, stop=[], status=[])
    executor = await bench.life()
    with pytest.raises(StartFailed, match=f"{said}: {restart[0]}"):
        await bench.launch(executor, bench.artifact("1"))
    await executor.close()


async def test_where_what_ran_does_not_come_back_that_is_told_too(bench, executor):
    await bench.launch(executor, bench.artifact("1"))
    bench.unit.script("restart", "exit 9")
    with pytest.raises(StartFailed, match=r"(?s)exit code 9.*going back failed too"):
        await bench.launch(executor, bench.artifact("2"))
    assert executor.running("shop") is None
    assert len(bench.exits) == 1


async def test_a_stop_that_was_cut_short_is_owed_still(bench, executor, tmp_path):
    await bench.launch(executor, bench.artifact("1"))
    said = tmp_path / "stopping"
    bench.unit.script("stop", f"touch {said}; exec sleep 60")
    stopping = asyncio.ensure_future(executor.stop("shop"))
    async with asyncio.timeout(10):
        while not said.exists():  # noqa: ASYNC110 - a script tells by a file that it was begun
            await asyncio.sleep(0.01)
    stopping.cancel()
    await asyncio.wait([stopping])
    await executor.close()
    again = await bench.life()
    assert again.running("shop") is not None, "else nobody would ever stop it"
    await again.close()


@pytest.mark.parametrize("bench", [{}, {"status": []}], indirect=True, ids=["status", "no status"])
async def test_a_stop_that_fails_is_told_and_what_runs_counts_as_running(bench, executor):
    await bench.launch(executor, bench.artifact("1"))
    bench.unit.script("stop", "echo Transaction order is cyclic; exit 1")
    with pytest.raises(StopFailed, match=r"not stopped: ScriptFailed: (.|\n)*cyclic"):
        await executor.stop("shop")
    assert executor.running("shop").artifact.version == "1"
    assert await bench.serves() == "1"
    bench.unit.script("stop", STOP)
    await executor.stop("shop")
    assert (executor.running("shop"), await bench.serves()) == (None, "")


async def test_a_stop_that_fails_and_after_which_nothing_runs_has_stopped_it(bench, executor):
    await bench.launch(executor, bench.artifact("1"))
    bench.unit.script("stop", STOP + "exit 1")
    await executor.stop("shop")
    assert (executor.running("shop"), await bench.serves()) == (None, "")


async def test_a_stop_command_that_cannot_print_has_not_stopped_anything(bench, executor):
    await bench.launch(executor, bench.artifact("1"))
    output = Path(bench.config.state) / "output" / "shop"
    shutil.rmtree(output)
    output.touch()  # as little to be written to as a full disk, for root too
    with pytest.raises(StopFailed):
        await executor.stop("shop")
    assert executor.running("shop") is not None


async def test_a_link_of_somebody_elses_making_is_gone_back_to(bench, executor):
    by_hand = bench.unit.folder / "by-hand"
    by_hand.mkdir()
    (by_hand / "version").write_text("0")
    (bench.unit.folder / "current").symlink_to(by_hand)
    with pytest.raises(StartFailed):
        await bench.launch(executor, bench.artifact("1", broken=True))
    assert bench.current == str(by_hand)
    async with asyncio.timeout(10):
        while await bench.serves() != "0":  # noqa: ASYNC110 - a server says nothing when it begins to listen
            await asyncio.sleep(0.01)
    await bench.launch(executor, bench.artifact("2"))
    assert await bench.serves() == "2"


async def test_a_release_that_had_ended_is_not_started_again_by_a_start_that_fails(bench, executor):
    """Whether it may run is asked before each start; a link alone says nothing of it."""
    await bench.launch(executor, bench.artifact("1"))
    bench.crash(executor)
    await until(lambda: bench.exits)
    with pytest.raises(StartFailed):
        await bench.launch(executor, bench.artifact("2", broken=True))
    assert (executor.running("shop"), await bench.serves()) == (None, "")
    assert not (bench.unit.folder / "current").is_symlink()


async def test_a_folder_where_the_link_should_be_is_left_alone(bench, executor):
    (bench.unit.folder / "current").mkdir()
    with pytest.raises(StartFailed, match="is no link; move it away"):
        await bench.launch(executor, bench.artifact("1"))
    assert (bench.unit.folder / "current").is_dir()


async def test_a_lost_journal_costs_nothing_the_link_tells(bench, executor):
    artifact = bench.artifact("1")
    await bench.launch(executor, artifact)
    await executor.close()
    (Path(bench.config.state) / "releases-shop").write_bytes(b"torn")
    again = await bench.life()
    assert again.running("shop").artifact == artifact
    assert await again.measure("shop") == artifact.sha256
    await again.close()


async def test_an_altered_release_is_unpacked_anew_beside_it(bench, executor):
    artifact = bench.artifact("1")
    await bench.launch(executor, artifact)
    altered = bench.current
    (bench.unit.folder / altered / "version").write_text("spoilt")
    await bench.launch(executor, artifact)
    assert bench.current != altered
    assert await bench.serves() == "1"
    assert await executor.measure("shop") == artifact.sha256


async def test_what_one_service_has_unpacked_is_not_held_for_another(bench, executor):
    """Two services of one bundle, whose file has gone from the cache: the second could neither fetch nor start it."""
    worker = Unit(bench.folder / "worker")
    bench.config.services["worker"] = worker.symlink()
    one, two = bench.artifact("1"), bench.artifact("2")
    both = executors_of(bench.config, SystemDisk(Path(bench.config.state)), SystemClock())["symlink"]
    await bench.launch(both, one)
    await bench.launch(both, two)
    (Path(bench.config.state) / "artifacts" / one.sha256).unlink()
    assert not both.holds(one)
    await both.fetch(one, ())
    await both.swap(Launch(service="worker", artifact=one, boot="w-1"))
    assert both.running("worker").artifact == one
    for service in ("worker", "shop"):
        await both.stop(service)
    await both.close()


async def test_halves_of_releases_are_thrown_away(bench, executor):
    await bench.launch(executor, bench.artifact("1"))
    await executor.close()
    for name in (".2-abc.unpacking", ".0-abc.removing"):
        (bench.releases / name / "deep").mkdir(parents=True)
    again = await bench.life()
    assert bench.names() == {"1"}
    await again.close()


async def test_a_release_can_be_one_file_with_its_configuration(bench, executor):
    (bench.folder / "version").write_text("single")
    config = artifact_of(bench.folder / "version", "c")
    single = artifact_of(bench.folder / "version", "1")
    await bench.launch(executor, replace(single, config_sha256=config.sha256, config_uri=config.uri))
    assert await bench.serves() == "single"
    assert (bench.unit.folder / "current/.tidegate/config").read_text() == "single"


async def test_an_archive_that_is_hostile_leaves_all_as_it_was(bench, executor):
    await bench.launch(executor, bench.artifact("1"))
    boot = executor.running("shop").boot
    for files, said in (({"../out": "x"}, "leads out"), ({".tidegate/config": "x"}, "may not hold .tidegate")):
        with pytest.raises(StartFailed, match=said):
            await bench.launch(executor, tarred(bench.folder, "2", files))
    assert executor.running("shop").boot == boot, "it was not even restarted"
    assert bench.names() == {"1"}


@pytest.mark.parametrize("bench", [{"unpacked_bytes_max": 100}], indirect=True)
def test_options_that_are_misspelt_are_refused_with_their_path(bench):
    with pytest.raises(ConfigError, match=r"services\.shop\.options.*unpacked_bytes_max"):
        executors_of(bench.config, SystemDisk(Path(bench.config.state)), SystemClock())
