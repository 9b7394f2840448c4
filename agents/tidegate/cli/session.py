"""One command's conversation with the log: read to the end, ask, wait for the record that answers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from enum import IntEnum

from tidegate.cli.connect import open_log
from tidegate.model import TOPICS, Model, Told
from tidegate.ports import Log, LogReader, SendRefused, SendUnknown
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.acls import Principal

POLL_S = 0.2


class Exit(IntEnum):
    """Exit codes, one for each outcome."""

    OK = 0
    FAILED = 1
    USAGE = 2
    ROLLED_BACK = 3
    TIMEOUT = 4
    ABORTED = 5
    SUPERSEDED = 6
    INTERRUPTED = 130


class Session:
    """An open log and a model that is up to date with it."""

    def __init__(self, log: Log, reader: LogReader, model: Model) -> None:
        self.log = log
        self.model = model
        self._reader = reader

    async def catch_up(self) -> list[Told]:
        """Read to an end captured now; return the decisions that were new."""
        return self.model.see(await self._reader.read_to_end())

    async def follow(self, done: Callable[[list[Told]], bool], within_s: float | None) -> bool:
        """Fold what comes until ``done`` says so of the decisions that were new; False where the time is over first."""
        deadline_s = None if within_s is None else time.monotonic() + within_s
        while not done(self.model.see(await self._reader.poll(POLL_S))):
            if deadline_s is not None and time.monotonic() >= deadline_s:
                return False
        return True

    async def ask(self, topic: str, subject: str, envelope: bytes, asked: str, *, within_s: float) -> Told:
        """Append a signed plan or intent and return the decision that answers it (D3). Problem where none comes in time."""
        try:
            await self.log.append(topic, subject, envelope)
        except ValueError as error:
            raise Problem(str(error), "make it smaller", code=Exit.USAGE) from error
        except SendUnknown as error:
            if isinstance(error, SendRefused):
                raise Problem(error.what, error.remedy) from error
            if not await self._stands(topic, envelope):
                raise Problem(
                    f"the broker did not confirm the {topic.removesuffix('s')} and does not hold it",
                    "try again",
                    code=Exit.TIMEOUT,
                ) from error
        await self.follow(lambda _: self.model.answer(asked) is not None, within_s)
        told = self.model.answer(asked)
        if told is None:
            raise Problem(
                f"no answer from the decision agent within {within_s:g} s; the {topic.removesuffix('s')} stands in the log "
                "and will be answered when it runs",
                "see whether it runs: tidegate up, or tidegate decide",
                code=Exit.TIMEOUT,
            )
        return told

    async def _stands(self, topic: str, envelope: bytes) -> bool:
        reader = await self.log.reader([topic])
        try:
            return any(record.value == envelope for record in await reader.read_to_end())
        finally:
            await reader.close()


@contextlib.asynccontextmanager
async def session(
    home: Home, *, topics: Sequence[str] = TOPICS, caught_up: bool = True, role: Principal = "operator"
) -> AsyncIterator[Session]:
    """Yield a session whose model has been read to the end; with ``caught_up`` False one that has read nothing yet, for what
    has to be asked at once.
    """
    trust = home.trust
    async with open_log(home, "cli", role) as log:
        reader = await log.reader(topics)
        try:
            opened = Session(log, reader, Model(trust))
            if caught_up:
                await opened.catch_up()
            yield opened
        finally:
            await asyncio.shield(reader.close())
