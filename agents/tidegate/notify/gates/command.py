"""A gate that is a command: the question as JSON on its standard input, the answer its exit code, why its last line.

0 passes, 2 refuses: the codes of monitoring plug-ins. Everything else is undecided: a script that breaks ends with 1, one that
cannot be found with 127, and neither says anything about a release.
"""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tidegate.notify.gates import Answer, Says
from tidegate.rollout.outgoing import OpenGate
from tidegate.wire.names import Duration, Name, duration_ms

KIND = "command"
SAYS: dict[int | None, Says] = {0: Says.PASS, 2: Says.FAIL}
SAID_BYTES = 64 << 10


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``command``: program and arguments, no shell; relative paths are below the home."""

    name: Name
    command: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)]
    within: Duration = "60s"
    every: Duration = "10s"


class Command:
    """One command."""

    def __init__(self, options: Options, base: Path) -> None:
        self.name = options.name
        self.every_s = duration_ms(options.every) / 1_000
        self._command = options.command
        self._within_s = duration_ms(options.within) / 1_000
        self._base = base

    async def ask(self, question: OpenGate, now_ms: int) -> Answer:  # noqa: ARG002 - whoever signs needs the time
        """Run it; what it started ends with it."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self._base,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return Answer(Says.UNDECIDED, f"{self._command[0]}: {error.strerror}")
        try:
            async with asyncio.timeout(self._within_s):
                said, _ = await process.communicate(msgspec.json.encode(question))
        except TimeoutError:
            return Answer(Says.UNDECIDED, f"no answer within {self._within_s:g} s")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        lines = [line.strip() for line in said[-SAID_BYTES:].decode(errors="replace").split("\n")]
        last = next((line for line in reversed(lines) if line), "")
        code = process.returncode
        if code in SAYS:
            return Answer(SAYS[code], last)
        return Answer(Says.UNDECIDED, f"exit code {code}" + (f": {last}" if last else ""))


def make(options: Options, base: Path) -> Command:
    """Return the gate."""
    return Command(options, base)
