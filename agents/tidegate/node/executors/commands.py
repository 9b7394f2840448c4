"""Commands of an operator, such as ``systemctl restart shop`` or a hook: each in a session of its own, bounded in time, with its
output kept.

A command must not outlive the agent unknown, or the next life would start a second one beside it. So the shell that becomes the
command waits for a word from the agent, which comes once the pid is written down; where the agent dies first, nothing was run.
"""

import asyncio
import contextlib
import os
import pwd
import select
import shutil
import signal
from collections.abc import Coroutine, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import structlog
from msgspec import Struct

from tidegate.node.executors.children import PROC, machine_boot, signal_name, started_ticks
from tidegate.node.executors.outputs import tail_of
from tidegate.ports import Clock, Disk
from tidegate.wire.codec import Malformed, decode, encode

GRACE_S = 5.0
"""Between TERM and KILL."""
_WHEN_TOLD = 'read -r go && exec "$@" </dev/null'

log = structlog.get_logger("node.commands")
T = TypeVar("T")


class Ending(StrEnum):
    """How a command failed: the error codes of the CodeDeploy agent by name."""

    MISSING = "ScriptMissing"
    NOT_EXECUTABLE = "ScriptNotExecutable"
    TIMED_OUT = "ScriptTimedOut"
    FAILED = "ScriptFailed"
    UNKNOWN = "UnknownError"
    OUTPUTS_LEFT_OPEN = "OutputsLeftOpen"


_NOT_RUN = {126: Ending.NOT_EXECUTABLE, 127: Ending.MISSING}
"""What a shell answers that could not run the program."""


class CommandFailed(Exception):
    """A command that did not do what it should. Carries the last lines of its output. No ending: no command is to blame."""

    def __init__(self, ending: Ending | None, what: str, tail: str = "") -> None:
        super().__init__((f"{ending}: " if ending else "") + what + (f":\n{tail}" if tail else ""))
        self.ending = ending
        self.what = what
        self.tail = tail

    def during(self, what: str) -> "CommandFailed":
        """Return the same failure, said of a part of a larger deed."""
        return CommandFailed(self.ending, f"{what}: {self.what}", self.tail)


class Order(Struct, frozen=True, kw_only=True):
    """One command: its words, all of its environment, where it runs, and for how long at most.

    ``output``: what it prints is appended there. ``closes_output``: it fails if it leaves somebody behind that prints on.
    ``noted``: the next life of the agent ends it; not needed for one that only asks.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    within_s: float
    output: Path
    user: str | None = None
    closes_output: bool = False
    noted: bool = True


class _Leader(Struct, frozen=True, kw_only=True):
    pid: int
    started: int
    machine: str


class Commands:
    """The commands of one service, one at a time."""

    def __init__(self, service: str, disk: Disk, clock: Clock) -> None:
        self._file = f"command-{service}"
        self._disk = disk
        self._clock = clock

    async def run(self, order: Order) -> None:
        """Run a command to its end; CommandFailed. Out of time, or cancelled: its whole group is ended before this returns."""
        said = " ".join(order.words)
        order.output.parent.mkdir(parents=True, exist_ok=True)  # a person who frees space may have thrown it away
        with order.output.open("ab") as output:
            begin = output.tell()
            process = await self._spawn(order, output.fileno())
        try:
            await within(self._clock, order.within_s, process.wait())
        except TimeoutError as error:
            await undisturbed(self._end(process))
            what = f"{said} did not end within {order.within_s:g} s"
            raise CommandFailed(Ending.TIMED_OUT, what, tail_of(order.output, begin)) from error
        except BaseException:
            await undisturbed(self._end(process))
            raise
        code = process.returncode or 0
        if code:
            ending = Ending.FAILED
            if code in _NOT_RUN and shutil.which(order.words[0], path=order.environment.get("PATH")) is None:
                ending = _NOT_RUN[code]  # else the script ran, and something in it was not found
            how = f"ended by signal {signal_name(-code)}" if code < 0 else f"failed with exit code {code}"
            raise CommandFailed(ending, f"{said} {how}", tail_of(order.output, begin))
        if order.closes_output:
            await self._closed(order, said, process.pid)

    async def end_left_over(self) -> None:
        """End a command that an earlier life of the agent left behind, and its group with it."""
        data = self._disk.read(self._file)
        try:
            leader = decode(data, _Leader) if data is not None else None
        except Malformed:
            leader = None
        if leader is None or leader.machine != machine_boot() or started_ticks(leader.pid) != leader.started:
            return
        with contextlib.suppress(ProcessLookupError):
            watched = os.pidfd_open(leader.pid)
            try:
                log.warning("command ended", pid=leader.pid, problem="an earlier life of this agent had begun it")
                _signal(leader.pid, signal.SIGTERM)
                await asyncio.to_thread(_gone, watched, GRACE_S)
                _signal(leader.pid, signal.SIGKILL)  # also where the leader has ended: what it began is in its group
                await asyncio.to_thread(_gone, watched, GRACE_S)
            finally:
                os.close(watched)

    async def _spawn(self, order: Order, output: int) -> asyncio.subprocess.Process:
        as_user: dict[str, Any] = (
            {} if order.user is None else {"user": order.user, "group": _group(order.user), "extra_groups": ()}
        )
        try:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh",
                *("-c", _WHEN_TOLD, "sh", *order.words),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=dict(order.environment),
                cwd=order.folder,
                start_new_session=True,
                **as_user,
            )
        except OSError as error:
            raise CommandFailed(Ending.UNKNOWN, f"{' '.join(order.words)} could not be started: {error}") from error
        told = process.stdin
        assert told is not None  # noqa: S101 - for the type checker
        try:
            if order.noted:
                leader = _Leader(pid=process.pid, started=started_ticks(process.pid) or 0, machine=machine_boot())
                self._disk.write(self._file, encode(leader))
            told.write(b"go\n")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                await told.drain()
        except BaseException:
            told.close()
            await undisturbed(self._end(process))
            raise
        told.close()
        return process

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """TERM to the group, KILL after the grace; children that the leader left are in it."""
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await within(self._clock, GRACE_S, process.wait())
        _signal(process.pid, signal.SIGKILL)
        await process.wait()

    async def _closed(self, order: Order, said: str, group: int) -> None:
        """Wait for the grace until nobody holds the output; who does then is ended."""
        late = self._clock.monotonic_s() + GRACE_S
        while holders := await asyncio.to_thread(_holders, order.output):
            if self._clock.monotonic_s() >= late:
                _signal(group, signal.SIGKILL)
                what = f"{said} left its output open in process {holders[0]}; let that print elsewhere: >/dev/null 2>&1"
                raise CommandFailed(Ending.OUTPUTS_LEFT_OPEN, what, tail_of(order.output, 0))
            await self._clock.sleep(0.1)


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` returns; TimeoutError where the clock is faster. It has ended when this returns."""
    task, late = asyncio.ensure_future(work), asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait([task, late], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()
        late.cancel()
        await asyncio.gather(task, late, return_exceptions=True)


async def undisturbed(work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` returns. A cancellation, however often it comes, waits until it has ended: for what restores order."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return task.result()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _gone(watched: int, within_s: float) -> bool:
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    return bool(poll.poll(within_s * 1_000))


def _holders(output: Path) -> list[int]:
    """Return who has the output open for writing by descriptor 1 or 2."""
    target, found = str(output.resolve()), []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if any(str((entry / "fd" / number).readlink()) == target for number in ("1", "2")):
                    found.append(int(entry.name))
    return found


def _group(user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_gid
    except KeyError as error:
        raise CommandFailed(Ending.UNKNOWN, f"there is no user {user} any more") from error
