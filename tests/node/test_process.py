"""Executor ``process``, on real processes: swap, failure, drain, adoption."""

import asyncio
import errno
import os
import shutil
import signal
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.node.kit import SERVER, Load, config_of, free_port, made, processes, request, until

from tidegate.node import Launch, ProcessExecutor, StartFailed
from tidegate.node.config import Readiness, ServiceConfig
from tidegate.node.executors.children import Child, started_ticks
from tidegate.node.executors.listener import ListenFailed, open_listener, take_back
from tidegate.node.executors.readiness import NotifySocket
from tidegate.node.executors.slot import Journal
from tidegate.ports import SystemClock, SystemDisk
from tidegate.wire.codec import decode, encode

CLIENTS = 8


class Bench:
    """One node with one service, and executors that come and go upon it."""

    def __init__(self, folder: Path, **changes) -> None:
        self.folder = folder
        self.port = free_port()
        command = ("{python}", SERVER, "{artifact}")
        shop = ServiceConfig(**({"command": command, "listen": f"127.0.0.1:{self.port}", "drain": "5s"} | changes))
        self.config = config_of(folder, shop=shop)
        self.exits: list[str] = []
        self.launches = 0

    @asynccontextmanager
    async def executor(self, *, stop: bool = True):
        executor = ProcessExecutor(self.config, SystemDisk(Path(self.config.state)), SystemClock())
        await executor.adopt(lambda _service, how: self.exits.append(how))
        try:
            yield executor
        finally:
            if stop:
                await executor.stop("shop")
            await executor.close()

    async def launch(self, executor, version: str, **behaviour) -> None:
        artifact = made(self.folder, version, **behaviour)
        await executor.fetch(artifact, ())
        self.launches += 1
        await executor.swap(Launch(service="shop", artifact=artifact, boot=f"{os.getpid()}-{self.launches}"))

    async def request(self) -> str:
        return await request(self.port)

    def processes(self) -> list[int]:
        return processes(self.config.state)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def test_swaps_under_load_lose_no_request(bench, say):
    async with bench.executor() as executor:
        await bench.launch(executor, "1")
        load = Load(bench.port, CLIENTS)
        for version in ("2", "3", "4", "5"):
            await bench.launch(executor, version)
            seen = len(load.answers)
            await until(lambda seen=seen: len(load.answers) > seen + 200)
        await load.stop()
    say(f"4 swaps under {CLIENTS} clients: {len(load.answers)} requests, {len(load.lost)} lost")
    assert load.lost == []
    assert set(load.answers) == set("12345")
    assert bench.exits == []


async def test_folders_that_a_person_threw_away_to_free_space_are_made_again(bench):
    async with bench.executor() as executor:
        await bench.launch(executor, "1")
        for name in ("output", "artifacts"):
            shutil.rmtree(Path(bench.config.state) / name)
        assert await executor.measure("shop") == ""
        await bench.launch(executor, "2")
        assert executor.running("shop").artifact.version == "2"


async def test_after_a_swap_exactly_one_process_is_left(bench):
    async with bench.executor() as executor:
        await bench.launch(executor, "1")
        await bench.launch(executor, "2")
        await until(lambda: len(bench.processes()) == 1)
        assert await bench.request() == "2"
        assert await executor.measure("shop") == executor.running("shop").artifact.sha256
    assert bench.processes() == []


@pytest.mark.parametrize(
    ("behaviour", "said"), [({"crash": True}, "no such table"), ({"silent": True}, "not ready within 500ms")]
)
async def test_a_start_that_fails_leaves_the_old_one_serving_and_says_why(tmp_path, behaviour, said):
    bench = Bench(tmp_path, ready_within="500ms" if "silent" in behaviour else "10s")
    async with bench.executor() as executor:
        await bench.launch(executor, "1") if "silent" not in behaviour else await patient(bench, executor)
        with pytest.raises(StartFailed, match=said):
            await bench.launch(executor, "2", **behaviour)
        assert executor.running("shop").artifact.version == "1"
        await until(lambda: len(bench.processes()) == 1)
        assert await bench.request() == "1"
    assert bench.exits == []


async def patient(bench: Bench, executor) -> None:
    """Start version 1 however slow the machine is at that moment."""
    for _ in range(20):
        try:
            return await bench.launch(executor, "1")
        except StartFailed:
            continue
    raise AssertionError("the machine is too slow to start a server within 500 ms")


async def test_a_command_that_is_none_is_named(tmp_path):
    bench = Bench(tmp_path, command=("/no/such/program",))
    async with bench.executor() as executor:
        with pytest.raises(StartFailed, match=r"127(.|\n)*/no/such/program"):
            await bench.launch(executor, "1")


async def test_a_real_time_signal_is_an_end_like_any_other(bench):
    async with bench.executor() as executor:
        await bench.launch(executor, "1")
        os.kill(bench.processes()[0], signal.SIGRTMIN + 1)
        await until(lambda: bench.exits)
        assert bench.exits[0].startswith(f"ended by signal SIG{signal.SIGRTMIN + 1}")
        assert executor.running("shop") is None


def no_descriptor(*_):
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("tidegate.node.artifacts.ArtifactCache", "check"),
        ("tidegate.node.executors.readiness.socket", "socket"),
        ("tidegate.node.executors.slot", "machine_boot"),
        ("tidegate.node.executors.slot", "spawn"),
        ("os", "pidfd_open"),
        ("tidegate.node.executors.children", "started_ticks"),
    ],
)
async def test_a_machine_that_has_run_out_is_a_start_that_failed_and_leaves_no_second_copy(bench, monkeypatch, owner, name):
    async with bench.executor() as executor:
        await bench.launch(executor, "1")
        monkeypatch.setattr(f"{owner}.{name}", no_descriptor)
        with pytest.raises(StartFailed, match=r"2 could not be started: .*Too many open files"):
            await bench.launch(executor, "2")
        monkeypatch.undo()
        assert len(bench.processes()) == 1
        assert await bench.request() == "1"


async def test_a_port_in_use_is_named_with_the_remedy(bench):
    with open_listener(f"127.0.0.1:{bench.port}"), pytest.raises(ListenFailed, match="free the port"):
        open_listener(f"127.0.0.1:{bench.port}")
    with open_listener(f"127.0.0.1:{bench.port}"):
        async with bench.executor() as executor:
            with pytest.raises(StartFailed, match=f"cannot listen on 127.0.0.1:{bench.port}"):
                await bench.launch(executor, "1")


async def test_a_cancelled_swap_leaves_the_old_one_alone(tmp_path):
    bench = Bench(tmp_path)
    async with bench.executor() as executor:
        await bench.launch(executor, "1")
        swap = asyncio.ensure_future(bench.launch(executor, "2", silent=True))
        await until(lambda: len(bench.processes()) == 2)
        swap.cancel()
        with pytest.raises(asyncio.CancelledError):
            await swap
        await until(lambda: len(bench.processes()) == 1)
        assert await bench.request() == "1"


async def test_who_does_not_drain_in_time_is_killed(tmp_path):
    bench = Bench(tmp_path, drain="300ms")
    async with bench.executor() as executor:
        await bench.launch(executor, "1", delay_s=60)
        hanging = asyncio.ensure_future(bench.request())
        await asyncio.sleep(0.1)
        await bench.launch(executor, "2")
        await until(lambda: len(bench.processes()) == 1)
        assert await bench.request() == "2"
        await asyncio.gather(hanging, return_exceptions=True)


async def test_who_does_not_drain_is_killed_although_nobody_waits_for_it_any_more(tmp_path):
    """``stop`` is cancelled where the agent is told to end, and asked again where it is to end the services, too."""
    bench = Bench(tmp_path, drain="500ms")
    async with bench.executor(stop=False) as executor:
        await bench.launch(executor, "1", delay_s=60)
        hanging = asyncio.ensure_future(bench.request())
        await asyncio.sleep(0.1)
        stopping = asyncio.ensure_future(executor.stop("shop"))
        await until(lambda: executor.running("shop") is None)
        stopping.cancel()
        await asyncio.wait([stopping])
        await executor.stop("shop")
        assert bench.processes() == []
        await asyncio.gather(hanging, return_exceptions=True)


async def test_an_exit_nobody_ordered_is_told_with_its_code(bench):
    async with bench.executor() as executor:
        await bench.launch(executor, "1", die_after_s=0.05)
        await until(lambda: bench.exits)
        assert "exit code 3" in bench.exits[0]
        assert executor.running("shop") is None


async def test_the_next_life_adopts_what_runs_with_its_socket(bench):
    async with bench.executor(stop=False) as executor:
        await bench.launch(executor, "1")
        pid = bench.processes()[0]
    async with bench.executor() as executor:
        assert executor.running("shop").artifact.version == "1"
        assert bench.processes() == [pid]
        answers = [asyncio.ensure_future(bench.request()) for _ in range(50)]
        await bench.launch(executor, "2")
        assert set(await asyncio.gather(*answers)) <= {"1", "2"}
        await until(lambda: len(bench.processes()) == 1)
        assert await bench.request() == "2"
    assert bench.exits == []


async def test_where_the_kernel_gives_no_socket_back_the_port_is_shared(bench, monkeypatch):
    async with bench.executor(stop=False) as executor:
        await bench.launch(executor, "1")
    monkeypatch.setattr("tidegate.node.executors.slot.take_back", lambda _pid, _address: None)
    async with bench.executor() as executor:
        await bench.launch(executor, "2")
        await until(lambda: len(bench.processes()) == 1)
        assert await bench.request() == "2"


async def test_what_ended_while_no_agent_ran_is_told_once(bench):
    async with bench.executor(stop=False) as executor:
        await bench.launch(executor, "1")
    os.kill(bench.processes()[0], signal.SIGKILL)
    async with bench.executor(stop=False) as executor:
        await until(lambda: executor.running("shop") is None)
    async with bench.executor():
        assert len(bench.exits) == 1


async def test_a_process_whose_start_was_never_finished_is_ended(bench):
    """What an agent leaves that dies between spawning a process and writing down that it counts."""
    async with bench.executor(stop=False) as executor:
        await bench.launch(executor, "1")
        counts = bench.processes()
        disk = SystemDisk(Path(bench.config.state))
        journal = disk.read("process-shop")
        await bench.launch(executor, "2")
        await until(lambda: len(bench.processes()) == 1)
        disk.write("process-shop", journal)
    assert bench.processes() != counts
    async with bench.executor():
        await until(lambda: bench.processes() == [])


async def test_a_first_start_that_was_never_finished_is_ended_too(bench):
    """There was no file yet, so it was taken for lost, and what had never been ready for what ran."""
    async with bench.executor() as dies:
        start = asyncio.ensure_future(bench.launch(dies, "1", silent=True))
        await until(bench.processes)
        async with bench.executor(stop=False) as executor:
            assert executor.running("shop") is None
            await until(lambda: bench.processes() == [])
        await asyncio.gather(start, return_exceptions=True)


async def test_a_lost_process_file_costs_nothing_the_mark_is_in_the_process(bench):
    async with bench.executor(stop=False) as executor:
        await bench.launch(executor, "1")
        pid = bench.processes()
    (Path(bench.config.state) / "process-shop").write_bytes(b"torn")
    async with bench.executor() as executor:
        assert executor.running("shop").artifact.version == "1"
        assert bench.processes() == pid


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_a_program_that_a_service_started_is_no_stray_of_an_agents_earlier_life(bench):
    async with bench.executor(stop=False) as executor:
        await bench.launch(executor, "1", helper=True)
        [helper] = {pid for pid in bench.processes() if parent_of(pid) != os.getpid()}
    async with bench.executor() as executor:
        assert executor.running("shop").artifact.version == "1"
    assert bench.processes() == [helper]  # whatever was to end has ended
    os.kill(helper, signal.SIGKILL)


@pytest.mark.parametrize("file", ["as it was", "torn"])
async def test_workers_whose_leader_ended_while_no_agent_ran_are_ended(bench, file):
    """They served on and held the port: nothing started or stopped there any more."""
    async with bench.executor(stop=False) as executor:
        await bench.launch(executor, "1", worker=True)
        [leader] = {pid for pid in bench.processes() if parent_of(pid) == os.getpid()}
    os.kill(leader, signal.SIGKILL)
    await until(lambda: os.waitpid(leader, os.WNOHANG)[0])
    if file == "torn":
        (Path(bench.config.state) / "process-shop").write_bytes(b"torn")
    assert len(bench.processes()) == 1
    async with bench.executor() as executor:
        await until(lambda: bench.processes() == [])
        assert executor.running("shop") is None
        await bench.launch(executor, "2")
        assert await bench.request() == "2"


async def test_a_pid_of_an_earlier_boot_of_the_machine_is_somebody_elses_now(bench):
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    child = Child(
        pid=stranger.pid, started=started_ticks(stranger.pid), machine="before", artifact=made(bench.folder, "1"), boot="1-1"
    )
    disk = SystemDisk(Path(bench.config.state))
    disk.write("process-shop", encode(Journal(current=child, retiring=(child,))))
    async with bench.executor() as executor:
        assert executor.running("shop") is None
    assert decode(disk.read("process-shop"), Journal) == Journal()
    assert (stranger.returncode, bench.exits) == (None, [])
    stranger.kill()
    assert await stranger.wait() == -signal.SIGKILL


async def test_a_tcp_and_an_http_probe_tell_readiness(tmp_path):
    port = free_port()
    for how in (Readiness(tcp=f"127.0.0.1:{port}"), Readiness(http=f"http://127.0.0.1:{port}/")):
        folder = tmp_path / ("tcp" if how.tcp else "http")
        folder.mkdir()
        bench = Bench(folder, readiness=how, listen=f"127.0.0.1:{port}")
        async with bench.executor() as executor:
            await bench.launch(executor, "1", silent=True)
            assert executor.running("shop").ready_ms > 0


async def test_only_the_service_itself_can_say_that_it_is_ready():
    notify = NotifySocket()
    ready = asyncio.ensure_future(notify.ready(os.getpid() + 1))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"READY=1", notify.address.replace("@", "\0", 1))
    done, _ = await asyncio.wait([ready], timeout=0.2)
    ready.cancel()
    notify.close()
    assert not done


def test_a_socket_is_taken_back_from_a_process_that_listens():
    with open_listener("127.0.0.1:0") as listener:
        port = listener.getsockname()[1]
        with take_back(os.getpid(), f"127.0.0.1:{port}") as again:
            assert again.fileno() != listener.fileno()
            assert again.getsockname() == listener.getsockname()
        assert take_back(os.getpid(), f"127.0.0.1:{port + 1}") is None
