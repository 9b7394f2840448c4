"""Plays many stories on all cores, and says of what fails what happens in it, as shortly as it can be told."""

import contextlib
import multiprocessing
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import structlog
from msgspec import Struct
from tests.protocol.memory import remembering
from tests.protocol.mutants import MUTANTS, without

from tidegate.sim.protocol import Story, Violation, draw, shorter
from tidegate.world.play import beginning, play

CHUNK = 50
FAULT = "fault"
"""An exception ended a process: wrong, but no proof that a guard was needed."""
TELL_EVERY_S = 10.0


class Failed(Struct, frozen=True):
    """A story in which a promise was broken."""

    seed: int
    rule: str
    sentence: str


class Tally(Struct):
    """What came of many stories."""

    stories: int = 0
    launches: int = 0
    failed: list[Failed] = []
    cpu_s: float = 0.0

    def add(self, other: "Tally") -> None:
        self.stories += other.stories
        self.launches += other.launches
        self.failed += other.failed
        self.cpu_s += other.cpu_s


def story_of(seed: int) -> Story:
    """Return the story of a seed."""
    return draw(seed, np.random.default_rng(seed))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let nobody write log lines: formatting them costs more than a schedule."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        yield
    finally:
        structlog.configure(**before)


def play_many(seeds: range) -> Tally:
    """Play the stories of some seeds."""
    tally = Tally()
    with quiet(), remembering() as memory:
        for nodes in (3, 4, 5):
            beginning(nodes)
        began_s = time.process_time()
        for seed in seeds:
            memory.forget()
            played = play(story_of(seed))
            tally.stories += 1
            tally.launches += played.launches
            tally.failed += [Failed(seed, one.rule, one.sentence) for one in played.violations[:1]]
        tally.cpu_s = time.process_time() - began_s
    return tally


def run(first: int, count: int, processes: int) -> Tally:
    """Play the stories of ``count`` seeds from ``first`` on, in so many processes at once."""
    seeds = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    tally = Tally()
    began_s = told_s = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for part in pool.imap_unordered(play_many, seeds):
            tally.add(part)
            now_s = time.monotonic()
            if now_s - told_s > TELL_EVERY_S:
                told_s = now_s
                per_s = tally.stories / (now_s - began_s)
                _tell(f"{tally.stories} of {count} stories, {len(tally.failed)} failed, {per_s:.0f}/s")
    return tally


def fails_as(story: Story, rule: str, mutant: str = "") -> bool:
    """Return whether a story breaks a promise first of all, perhaps without some guards."""
    with without(mutant) if mutant else contextlib.nullcontext():
        return [one.rule for one in play(story).violations[:1]] == [rule]


def shortest(story: Story, rule: str, mutant: str = "", tries: int = 400) -> Story:
    """Return a story that fails in the same way and is as short as it can be."""
    with quiet(), remembering() as memory:

        def fails(candidate: Story) -> bool:
            memory.forget()
            return fails_as(candidate, rule, mutant)

        return shorter(story, fails, tries)


def told(story: Story, mutant: str = "") -> list[str]:
    """Return a story in words, line by line."""
    with quiet(), remembering(), without(mutant) if mutant else contextlib.nullcontext():
        played = play(story, tell=True)
    lines = [f"{at_ms / 1_000:8.3f} s  {what}" for at_ms, what in played.told]
    return lines + [f"    {one.rule}: {one.sentence}" for one in played.violations[:3]]


def hunt(mutant: str, first: int, count: int) -> tuple[Story, Violation] | None:
    """Return a short story that is told well with every guard and fails without some, or None where no seed gives one."""
    with quiet(), remembering() as memory:
        for seed in range(first, first + count):
            memory.forget()
            story = story_of(seed)
            with without(mutant):
                violations = play(story).violations
            if violations and violations[0].rule != FAULT:
                story = shortest(story, violations[0].rule, mutant)
                with without(mutant):
                    return story, play(story).violations[0]
    return None


def caught(killers: dict[str, Story]) -> dict[str, str]:
    """Return for each mutant the promise that its stored story shows to be broken; empty where it is not caught."""
    found = dict.fromkeys(MUTANTS, "")
    with quiet(), remembering():
        for name, story in killers.items():
            with without(name):
                found[name] = next((one.rule for one in play(story).violations if one.rule != FAULT), "")
    return found


def read_killers(data: bytes) -> dict[str, Story]:
    """Return the stored stories."""
    return msgspec.json.decode(data, type=dict[str, Story])


def write_killers(killers: dict[str, Story]) -> bytes:
    """Return stories as they are stored: one line each."""
    lines = [f"{msgspec.json.encode(name).decode()}: {msgspec.json.encode(killers[name]).decode()}" for name in sorted(killers)]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _tell(words: str, file: Any = None) -> None:
    print(f"  {words}", file=file or sys.stderr, flush=True)
