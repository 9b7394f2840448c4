"""A small supervisor: every role a child process with a log file of its own, restarted with backoff, gone with its parent."""

import asyncio
import contextlib
import http.client
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from msgspec import Struct

from tidegate.runtime.serve import ANNOUNCE
from tidegate.runtime.tied import tie

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
STEADY_AFTER_S = 60.0
"""A child that has lived for so long starts again with the first backoff."""
STOP_WITHIN_S = 20.0
READY_LOOK_EVERY_S = 0.25


class Program(Struct, frozen=True, kw_only=True):
    """One child: its name is its log file's and its address file's."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}
    wave: int = 0
    """Children of one wave stop together, a later wave before an earlier one."""


class Supervisor:
    """Runs programs in order and stops them by waves. ``announce`` takes the lines that a person should see."""

    def __init__(self, programs: Sequence[Program], *, logs: Path, state: Path, announce: Callable[[str], None]) -> None:
        self._programs = programs
        self._logs = logs
        self._state = state
        self._announce = announce
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}

    def log_of(self, name: str) -> Path:
        """Return the log file of a program."""
        return self._logs / f"{name}.log"

    def address_of(self, name: str) -> str | None:
        """Return where a program serves /metrics and health; None while it has not said."""
        return next(iter(self._announced(name)), None)

    def also_of(self, name: str) -> list[str]:
        """Return what else a program serves, and where, in its own words."""
        return self._announced(name)[1:]

    @property
    def names(self) -> list[str]:
        """Names of the programs, in order."""
        return [program.name for program in self._programs]

    async def ready(self, within_s: float) -> dict[str, str]:
        """Wait until every program says that it is ready; return those that are late with what they said, or nothing."""
        deadline_s = time.monotonic() + within_s
        late = dict.fromkeys(self.names, "has not started to serve")
        while late and time.monotonic() < deadline_s:
            for name in list(late):
                why = await asyncio.to_thread(_why_not_ready, self.address_of(name))
                if why is None:
                    del late[name]
                else:
                    late[name] = why
            await asyncio.sleep(READY_LOOK_EVERY_S if late else 0)
        return late

    async def start(self) -> None:
        """Start every program, in order, without waiting for any to be ready."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._state.mkdir(parents=True, exist_ok=True)
        for program in self._programs:
            await self._spawn(program)
            self._keepers[program.name] = asyncio.create_task(self._keep(program))

    async def end(self, name: str) -> None:
        """Stop one program and leave it stopped: SIGTERM, then SIGKILL after 20 s. Safe to call twice."""
        keeper, child = self._keepers.pop(name, None), None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            child = self._children.pop(name, None)
        if child is not None:
            await _stop(child)
        self._address_file(name).unlink(missing_ok=True)

    async def stop(self) -> None:
        """Stop every program, the last wave first. Safe to call twice."""
        for wave in sorted({program.wave for program in self._programs}, reverse=True):
            await asyncio.gather(*(self.end(program.name) for program in self._programs if program.wave == wave))

    async def _keep(self, program: Program) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            began_s = time.monotonic()
            code = await self._children[program.name].wait()
            if time.monotonic() - began_s > STEADY_AFTER_S:
                backoff_s = BACKOFF_FIRST_S
            what = f"ended ({_how(code)})"
            while what:
                self._announce(f"{program.name} {what}; starting it again in {backoff_s:g} s; see {self.log_of(program.name)}")
                await asyncio.sleep(backoff_s)
                backoff_s = min(BACKOFF_MAX_S, backoff_s * 2)
                try:
                    await self._spawn(program)
                    what = ""
                except OSError as error:  # such as a machine without room for one process more
                    what = f"could not be started ({error.strerror})"

    async def _spawn(self, program: Program) -> None:
        self._address_file(program.name).unlink(missing_ok=True)
        environment = {**os.environ, **program.environment, ANNOUNCE: str(self._address_file(program.name))}
        with self.log_of(program.name).open("a") as log:
            self._children[program.name] = await _start(program.command, environment, log)

    def _announced(self, name: str) -> list[str]:
        with contextlib.suppress(OSError):
            return self._address_file(name).read_text().splitlines()
        return []

    def _address_file(self, name: str) -> Path:
        return self._state / f"{name}.address"


async def _start(command: Sequence[str], environment: Mapping[str, str], log: TextIO) -> asyncio.subprocess.Process:
    # A session of its own: Ctrl-C reaches the supervisor alone, which then stops its children in order.
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=dict(environment),
        start_new_session=True,
        preexec_fn=tie(signal.SIGTERM),
    )


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


def _why_not_ready(url: str | None) -> str | None:
    if url is None:
        return "has not started to serve"
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2.0):  # noqa: S310 - our own child's http address
            return None
    except urllib.error.HTTPError as error:
        return error.read(500).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return str(error)


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
