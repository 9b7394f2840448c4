"""Plays many stories on all cores, and says of what fails what happens in it, as shortly as it can be told."""

import contextlib
import gc
import hashlib
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import structlog
from msgspec import Struct
from tests.protocol.memory import remembering
from tests.protocol.mutants import without

from tidegate.sim.protocol import Story, draw, shorter
from tidegate.world.play import play

CHUNK = 50
FAULT = "fault"
"""An exception ended a process: wrong, but no proof that a guard was needed."""
TELL_EVERY_S = 10.0
ROOT = Path(__file__).parents[2]
CODE = ("schemas", "streams", "agents", "tests/protocol")


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
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50), logger_factory=lambda *_: None)
    try:
        yield
    finally:
        structlog.configure(**before)


def play_many(seeds: range) -> Tally:
    """Play the stories of some seeds."""
    tally = Tally()
    with quiet(), remembering() as memory:
        began_s = time.process_time()
        for seed in seeds:
            memory.forget()
            played = play(story_of(seed))
            tally.stories += 1
            tally.launches += played.launches
            tally.failed += [Failed(seed, one.rule, one.sentence) for one in played.violations[:1]]
        tally.cpu_s = time.process_time() - began_s
    return tally


def run(first: int, count: int, processes: int, kept: Path | None = None) -> Tally:
    """Play the stories of ``count`` seeds from ``first`` on, in so many processes at once.

    ``kept``: a file in which is noted what has been played. Who is interrupted (SIGINT, SIGTERM) returns what came of it so far,
    and the next run with that file goes on from there, as long as the code is the same.
    """
    progress = Progress.of(kept, first)
    seeds = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    left = [chunk for chunk in seeds if chunk.start not in progress.done]
    tally = progress.tally
    before, began_s = tally.stories, time.monotonic()
    told_s, told = began_s, 0
    with _interruptible(), multiprocessing.get_context("spawn").Pool(processes, initializer=_begin_to_play) as pool:
        try:
            _tell(f"begins to play {sum(map(len, left))} stories")
            for chunk, part in pool.imap_unordered(_play_chunk, left):
                tally.add(part)
                progress.done.add(chunk.start)
                now_s = time.monotonic()
                if now_s - told_s > TELL_EVERY_S:
                    told_s = now_s
                    per_s = (tally.stories - before) / (now_s - began_s)
                    _tell(f"{tally.stories} of {count} stories, {len(tally.failed)} failed, {per_s:.0f}/s")
                    progress.keep(kept)
                    for failed in tally.failed[told:]:
                        _tell(f"seed {failed.seed}: {failed.rule}: {failed.sentence}")
                    told = len(tally.failed)
        except KeyboardInterrupt:
            _tell(f"interrupted: {tally.stories} of {count} stories, {len(tally.failed)} failed")
    progress.keep(kept)
    return tally


class Progress(Struct):
    """What has been played by one state of the code."""

    code: str
    first: int
    done: set[int] = set()
    """The first seed of each chunk that was played."""
    tally: Tally = msgspec.field(default_factory=Tally)

    @classmethod
    def of(cls, kept: Path | None, first: int) -> "Progress":
        """Return what a file holds, or the beginning where it is of another code or of other seeds."""
        new = cls(code_digest(), first)
        if kept is None or not kept.exists():
            return new
        found = msgspec.json.decode(kept.read_bytes(), type=cls)
        if (found.code, found.first) == (new.code, new.first):
            _tell(f"goes on after {found.tally.stories} stories")
            return found
        _tell(f"{found.tally.stories} stories were played by another state of the code: begins anew")
        return new

    def keep(self, kept: Path | None) -> None:
        """Write it down, all or nothing."""
        if kept is not None:
            kept.parent.mkdir(exist_ok=True)
            draft = kept.with_suffix(".new")
            draft.write_bytes(msgspec.json.encode(self))
            draft.replace(kept)


def code_digest() -> str:
    """Return the digest of everything that a run is a function of, besides its seed."""
    found = hashlib.sha256()
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def _play_chunk(seeds: range) -> tuple[range, Tally]:
    return seeds, play_many(seeds)


def _begin_to_play() -> None:
    """Leave Ctrl-C to whoever started this process (and ends it by SIGTERM), and imports out of the garbage collector's sight."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1_000)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM interrupt as SIGINT does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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


def _tell(words: str, file: Any = None) -> None:
    print(f"  {words}", file=file or sys.stderr, flush=True)
