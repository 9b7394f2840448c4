"""One installation, some rounds: live rollouts while faults come, with the verifier reading beside them."""

import asyncio
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from tests.scenarios.kills.evidence import Run, lines_of
from tests.scenarios.kills.faults import Ends, Kind, Round, draw
from tests.scenarios.kills.hands import Hands, now_ms
from tests.scenarios.kills.installation import ROOT, Installation
from tests.scenarios.kills.people import PATIENT_S, Late, People, Sight

from tidegate.wire.decisions import Result
from tidegate.wire.documents import Phase

MEANT: dict[Ends, str] = {
    Ends.PROMOTED: Result.PROMOTED,
    Ends.RESUMED: Result.PROMOTED,
    Ends.ABORTED: Result.ABORTED,
    Ends.BAD_FIRST: Result.ROLLED_BACK,
    Ends.BAD_LAST: Result.ROLLED_BACK,
}


class Course(Struct, frozen=True):
    """What to play: a seed, how many rounds, in how many of five of them the leader is killed, and of what."""

    seed: int
    rounds: int
    kills: int = 1
    deciders: int = 3
    nodes: int = 6


async def play(folder: Path, course: Course, say: Callable[[str], None]) -> dict[str, object]:
    """Play the rounds of a course and return the verifier's summary, with what each rollout came to."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a client in the middle of faults has much to complain of
    installation, sight = Installation(folder, course.deciders, course.nodes), Sight()
    tasks: list[asyncio.Task[None]] = []
    verifier: asyncio.subprocess.Process | None = None
    try:
        await installation.start()
        verifier = await _verifier(folder, installation)
        people, hands = People(installation, sight), Hands(installation, sight, folder / "story")
        tasks = [asyncio.create_task(sight.follow(installation.log)), asyncio.create_task(people.judge())]
        await _quietly(installation, sight, people)
        results: Counter[str] = Counter()
        otherwise: list[str] = []
        for number, played in enumerate(draw(course.seed, course.rounds, course.kills), 1):
            began_s = time.monotonic()
            result = await _round(number, played, (installation, sight, people, hands))
            results[result] += 1
            told = f"seed {course.seed} round {number}: {_told(played)}: {result}"
            otherwise += [told] if result != MEANT[played.ends] else []
            say(f"{told} in {time.monotonic() - began_s:.1f} s")
        played_on = {"deciders": course.deciders, "nodes": course.nodes, "small_disk": installation.disk is not None}
        return (
            {"seed": course.seed, "rounds": course.rounds}
            | played_on
            | {"rollouts": results, "otherwise": otherwise}
            | await _judged(verifier)
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if verifier is not None and verifier.returncode is None:
            verifier.kill()
            await verifier.wait()
        await installation.stop()


async def _quietly(installation: Installation, sight: Sight, people: People) -> None:
    """Bring up the first version, without faults: it has nothing to go back to."""
    await sight.until(lambda: sight.reported == {*installation.nodes}, PATIENT_S, "a report of every node")
    await people.start("v0", None)
    await sight.until(lambda: _settled(installation, sight), PATIENT_S, "the first install")


async def _round(number: int, played: Round, parts: tuple[Installation, Sight, People, Hands]) -> str:
    """Play one round to its quiet end, and mark that in the story; return how its rollout ended."""
    installation, sight, people, hands = parts
    began_ms = now_ms()
    faults = {asyncio.create_task(hands.carry_out(fault)): fault.kind for fault in played.faults}
    try:
        await people.start(f"v{number}", played)
        await people.ask(played)
        await _ended([task for task, kind in faults.items() if kind is not Kind.KILL_MID_APPLY])
        await sight.until(lambda: _settled(installation, sight), PATIENT_S, f"the end of round {number}: {_told(played)}")
    finally:
        for task in faults:
            task.cancel()
        await asyncio.gather(*faults, return_exceptions=True)
    hands.write("ROUND", f"round {number}", began_ms)
    return str(sight.state.result)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        await task


def _settled(installation: Installation, sight: Sight) -> bool:
    """Return whether the rollout is over and every node's program is the one that is settled."""
    state, desired = sight.state, sight.desired
    if state.phase is not Phase.DONE or state.settled is None or desired is None:
        return False
    if (desired.epoch, desired.generation) != (sight.epoch, state.generation):
        return False
    last = {run.node: run.version for run in lines_of(installation.runs, Run) if run.what == "serve"}
    return last == dict.fromkeys(installation.nodes, state.settled.version)


async def _verifier(folder: Path, installation: Installation) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.scenarios.kills.verifier",
        str(folder),
        installation.connection.bootstrap,
        installation.connection.prefix,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def _judged(verifier: asyncio.subprocess.Process) -> dict[str, object]:
    output, _ = await verifier.communicate(b"")
    if verifier.returncode:
        raise Late(f"the verifier ended with exit code {verifier.returncode}")
    found: dict[str, object] = json.loads(output)
    return found


def _told(played: Round) -> str:
    return f"{played.ends}; {', '.join(fault.kind.name for fault in played.faults)}"
