"""Processes that outlive the agent: started in a session of their own, known by pid and start time, watched by pidfd.

A pid alone may belong to somebody else by tomorrow; with the start time from /proc it may not. A pidfd watches a process
whether or not it is our child, which is what makes adoption after the agent's own death possible.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from tidegate.wire.plans import Artifact

PROC = Path("/proc")
LISTEN_FD = 3
"""Where systemd's socket activation puts the first socket."""

# $$ stays what it is across exec: the one moment at which a process can be told its own pid. Libraries for systemd read
# LISTEN_PID and take it away; the other one stays.
_TELL_PID = 'LISTEN_PID=$$; TIDEGATE_PID=$$; export LISTEN_PID TIDEGATE_PID; exec "$@"'


class Child(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One process of a service. ``started`` in clock ticks since the machine's boot, which ``machine`` names."""

    pid: int
    started: int
    machine: str
    artifact: Artifact
    boot: str
    token: str = ""
    ready_ms: int = 0


def machine_boot() -> str:
    """Return the kernel's name of this boot of the machine."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def started_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None where there is none. A corpse still has its time."""
    try:
        # The name of the program stands in parentheses and may hold anything: what follows the last one is regular.
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def spawn(command: Sequence[str], environment: Mapping[str, str], listener: int | None, output: Path) -> int:
    """Start a program in a session of its own and return its pid; OSError.

    Standard output and error are appended to ``<output>.out`` and ``.err``: a pipe would break with the agent.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, f"{output}.out", append, 0o640),
        (os.POSIX_SPAWN_OPEN, 2, f"{output}.err", append, 0o640),
    ]
    if listener is not None:
        actions.append((os.POSIX_SPAWN_DUP2, listener, LISTEN_FD))
    return os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", _TELL_PID, "sh", *command],
        dict(environment),
        file_actions=actions,
        setsid=True,
        setsigmask=[],
        # Python ignores these, and what is ignored is inherited.
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )


def end_unwatched(pid: int) -> None:
    """End a process of ours that nobody watches, and everything in its group, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError, ChildProcessError):
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def signal_name(number: int) -> str:
    """Return the name of a signal; that of a number, where it has none: real-time signals have none between their first and last.

    >>> signal_name(9), signal_name(35)
    ('SIGKILL', 'SIG35')
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


class Watch:
    """One process under watch. ``exited`` is done, with how it ended, when it is gone and its group with it."""

    def __init__(self, child: Child) -> None:
        """Raise ProcessLookupError where that very process is not there any more, OSError where it cannot be watched."""
        self.child = child
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[str] = self._loop.create_future()
        self._fd = os.pidfd_open(child.pid)
        try:
            same = started_ticks(child.pid) == child.started
            if same:
                self._loop.add_reader(self._fd, self._gone)
        except BaseException:
            os.close(self._fd)
            raise
        if not same:
            os.close(self._fd)
            raise ProcessLookupError(f"process {child.pid} is gone")

    @property
    def alive(self) -> bool:
        """Whether it has not been seen to end."""
        return not self.exited.done()

    def terminate(self) -> None:
        """Ask the process itself, not its children, to finish and end."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, signal.SIGTERM)

    def kill(self) -> None:
        """End it and everything in its group."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, signal.SIGKILL)

    def close(self) -> None:
        """Watch no more; the process goes on."""
        if self.alive:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self.exited.cancel()

    def _gone(self) -> None:
        self._loop.remove_reader(self._fd)
        # The pid cannot be given away before it is waited for, so this hits nobody else's group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)
        os.close(self._fd)
        self.exited.set_result(_reap(self.child.pid))


def left_running(state: Path, service: str) -> Iterator[tuple[int, str]]:
    """Yield (pid, launch) of each process that some life of the agent with this state folder started for a service.

    Not of those that a service started itself: they have its environment, and in it the pid that it was told.
    """
    for pid, session, environment in _marked(state, service):
        told = {one for one in environment if one.startswith(b"TIDEGATE_PID=")}  # none: it has not come to its exec yet
        if session == pid and told <= {f"TIDEGATE_PID={pid}".encode()}:
            launches = [one.partition(b"=")[2] for one in environment if one.startswith(b"TIDEGATE_LAUNCH=")]
            yield pid, launches[0].decode() if launches else ""


def end_leaderless(state: Path, service: str) -> None:
    """End what a process of a service left in its group when it ended while nobody looked: it may hold the socket, and serve.

    Its group has the number of its session, which the kernel gives to no other process while there is one in it.
    """
    for _, session, environment in _marked(state, service):
        if f"TIDEGATE_PID={session}".encode() in environment and started_ticks(session) is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(session, signal.SIGKILL)


def child_of(pid: int, launch: str, ready_ms: int) -> Child | None:
    """Return a process that was found by its environment as a child; None where it is gone or says too little."""
    started = started_ticks(pid)
    try:
        child = msgspec.json.decode(launch, type=Child)
    except msgspec.DecodeError:
        return None
    return None if started is None else msgspec.structs.replace(child, pid=pid, started=started, ready_ms=ready_ms)


def _marked(state: Path, service: str) -> Iterator[tuple[int, int, set[bytes]]]:
    """Yield (pid, session, environment) of each process that has the environment of a service of this state folder."""
    marks = {f"TIDEGATE_STATE={state}".encode(), f"TIDEGATE_SERVICE={service}".encode()}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                environment = set((entry / "environ").read_bytes().split(b"\0"))
                if marks <= environment:
                    yield int(entry.name), os.getsid(int(entry.name)), environment


def _reap(pid: int) -> str:
    try:
        _, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return "ended (it was started by an earlier life of this agent, so its exit code is not known)"
    if os.WIFSIGNALED(status):
        return f"ended by signal {signal_name(os.WTERMSIG(status))}"
    return f"ended with exit code {os.WEXITSTATUS(status)}"
