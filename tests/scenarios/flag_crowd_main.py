"""Many services in one process, each with a provider of its own, as a program: ``python -m tests.scenarios.flag_crowd_main FOLDER
BOOTSTRAP PREFIX NAME COUNT``.

Everything of a provider is real: its connection, its verification, its evaluation. What each sees, and when, goes to the journal
``FOLDER/NAME.jsonl`` as one line; the first one keeps a snapshot in ``FOLDER/NAME``. It ends with its parent, or by SIGTERM.
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import uvloop
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent, ProviderEventDetails

from tidegate.broker import client
from tidegate.runtime.stopping import stop_signals
from tidegate.sdk.flags import AsyncTidegateProvider, FlagSettings

FLAG, SET = "dark", "web"
KIM = EvaluationContext("kim")
WAIT_S = 60.0
LOOK_EVERY_S = 0.5


class Member:
    """One service: says what its users get whenever it is told that something changed."""

    def __init__(self, settings: FlagSettings, number: str, journal: TextIO) -> None:
        self.provider = AsyncTidegateProvider(settings)
        self.provider.attach(self._hear)
        self._number = number
        self._journal = journal

    def say(self, what: str) -> None:
        found = self.provider.resolve_boolean_details(FLAG, False, KIM)
        line = {
            "what": what,
            "who": self._number,
            "ms": time.time_ns() / 1e6,
            "variant": found.variant,
            "age_s": self.provider.age_s,
        }
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()

    def _hear(self, _provider: object, event: ProviderEvent, _details: ProviderEventDetails) -> None:
        self.say(event.value)


async def main(members: list[Member], parent: int) -> None:
    stop = stop_signals()
    # A fleet is not switched on in one moment.
    for begin in range(0, len(members), 10):
        await asyncio.gather(*(one.provider.start() for one in members[begin : begin + 10]))
    for one in members:
        one.say("begun")
    gc.collect()
    gc.freeze()
    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await stop.wait()
                break
    for one in members:
        one.say("ended")
    await asyncio.gather(*(one.provider.close() for one in members))


if __name__ == "__main__":
    client.APART_AFTER_S = (0.0, 3.0)  # as all are a minute and a half after their start: fetches have a connection of their own
    folder, bootstrap, prefix, name, count = sys.argv[1:]
    logging.disable(logging.ERROR)  # of a broker that is gone, 200 times
    here = Path(folder)
    with (here / f"{name}.jsonl").open("a") as file:
        crowd = [
            Member(
                FlagSettings(
                    flag_set=SET,
                    root=here / "root.json",
                    bootstrap=bootstrap,
                    prefix=prefix,
                    snapshot=here / name if number == 0 else None,
                    node=f"{name}-{number}",
                    wait_s=WAIT_S,
                ),
                f"{name}-{number}",
                file,
            )
            for number in range(int(count))
        ]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(crowd, os.getppid()))
