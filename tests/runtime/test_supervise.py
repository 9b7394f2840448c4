"""The supervisor, with real child processes."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.runtime import supervise
from tidegate.runtime.supervise import Program, Supervisor

WITHIN_S = 20.0

LIVES = "import signal, time; print('up', flush=True); signal.pause()"
TELLS = """
import pathlib, signal, sys
def end(*_):
    with open({file!r}, 'a') as log:
        print({name!r}, file=log)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print('up', flush=True)
while True:
    signal.pause()
"""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - files and processes set no event
            await asyncio.sleep(0.02)


def program(name: str, code: str, wave: int = 0, **environment: str) -> Program:
    return Program(name=name, command=(sys.executable, "-c", code), environment=environment, wave=wave)


class Run:
    """A supervisor and what it said."""

    def __init__(self, folder: Path, *programs: Program) -> None:
        self.said: list[str] = []
        self.supervisor = Supervisor(list(programs), logs=folder / "logs", state=folder / "state", announce=self.said.append)

    def log(self, name: str) -> str:
        return self.supervisor.log_of(name).read_text()


async def test_each_child_has_a_log_of_its_own(tmp_path: Path) -> None:
    run = Run(tmp_path, program("a", "print('I am a')"), program("b", "import sys; print('I am b', file=sys.stderr)"))
    await run.supervisor.start()
    await until(lambda: "I am a" in run.log("a") and "I am b" in run.log("b"))
    await run.supervisor.stop()
    assert "I am b" not in run.log("a")


async def test_a_child_that_falls_is_started_again_and_a_person_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "BACKOFF_FIRST_S", 0.01)
    run = Run(tmp_path, program("a", "print('once'); raise SystemExit(3)"))
    await run.supervisor.start()
    await until(lambda: run.log("a").count("once") >= 3)
    await run.supervisor.stop()
    assert "a ended (exit code 3); starting it again in 0.01 s" in run.said[0]
    assert "0.02 s" in run.said[1]


async def test_a_machine_without_room_for_a_child_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who kept the child ended with the error, and the role stayed dead without a word."""
    monkeypatch.setattr(supervise, "BACKOFF_FIRST_S", 0.01)
    run = Run(tmp_path, program("a", "print('once'); raise SystemExit(3)"))
    await run.supervisor.start()
    await until(lambda: "once" in run.log("a"))
    log = run.supervisor.log_of("a")
    log.rename(tmp_path / "aside")
    log.mkdir()  # no file can be opened there
    await until(lambda: sum("could not be started (Is a directory)" in said for said in run.said) >= 2)
    log.rmdir()
    await until(lambda: log.is_file() and "once" in run.log("a"))
    await run.supervisor.stop()


async def test_later_waves_stop_first(tmp_path: Path) -> None:
    order = tmp_path / "order"
    programs = [program(name, TELLS.format(name=name, file=str(order)), wave) for wave, name in enumerate(("a", "b", "c"))]
    run = Run(tmp_path, *programs)
    await run.supervisor.start()
    await until(lambda: all("up" in run.log(name) for name in "abc"))
    await run.supervisor.stop()
    await run.supervisor.stop()
    assert order.read_text().split() == ["c", "b", "a"]


async def test_a_child_that_does_not_hear_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "STOP_WITHIN_S", 0.1)
    run = Run(
        tmp_path, program("a", f"import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid())\n{LIVES}")
    )
    await run.supervisor.start()
    await until(lambda: "up" in run.log("a"))
    await run.supervisor.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(int(run.log("a").split()[0]), 0)


async def test_one_program_can_be_ended_for_good(tmp_path: Path) -> None:
    run = Run(tmp_path, program("a", LIVES), program("b", LIVES))
    await run.supervisor.start()
    await until(lambda: "up" in run.log("a"))
    await run.supervisor.end("a")
    assert run.said == []
    await run.supervisor.stop()


async def test_readiness_is_asked_where_the_child_says(tmp_path: Path) -> None:
    serves = """
import asyncio
from tidegate.runtime.serve import serving
async def main():
    async with serving("127.0.0.1", 0, lambda: None, also=("tea at 17:00",)):
        await asyncio.Event().wait()
asyncio.run(main())
"""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    run = Run(tmp_path, program("a", serves, PYTHONPATH=path), program("b", LIVES))
    await run.supervisor.start()
    await until(lambda: run.supervisor.address_of("a") is not None)
    assert await run.supervisor.ready(0.5) == {"b": "has not started to serve"}
    assert (run.supervisor.also_of("a"), run.supervisor.also_of("b")) == (["tea at 17:00"], [])
    await run.supervisor.stop()
    assert run.supervisor.address_of("a") is None


async def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    child_code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    parent = f"""
import asyncio, pathlib, sys
from tidegate.runtime.supervise import Program, Supervisor
async def main():
    child = Program(name="child", command=(sys.executable, "-c", {child_code!r}))
    folder = pathlib.Path({str(tmp_path)!r})
    await Supervisor([child], logs=folder, state=folder, announce=print).start()
    await asyncio.Event().wait()
asyncio.run(main())
"""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, env={**os.environ, "PYTHONPATH": path})
    log = tmp_path / "child.log"
    await until(lambda: log.exists() and log.read_text().endswith("\n"))
    child = int(log.read_text())
    process.send_signal(signal.SIGKILL)
    await process.wait()

    def gone() -> bool:
        try:
            # A zombie that its new parent has not collected yet is gone too.
            return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    await until(gone)
