"""Stories that a mutant does not survive: stored ones, and the search for more.

Each mutant has several, since when things happen in a story changes with the product. One that fails no more may still fail with
other luck or a little later, so those near it are tried before a mutant counts as lost.
"""

import contextlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import msgspec
from msgspec.structs import replace
from tests.protocol.mutants import MUTANTS, without
from tests.protocol.runner import FAULT, quiet, remembering, shortest, story_of

from tidegate.sim.protocol import Act, Story
from tidegate.world.play import play

STORED = Path(__file__).with_name("killers.json")
KEPT = 3
"""So many stories are stored for each mutant."""
NEAR = 24
"""So many are tried near a story that fails no more."""
SHRINKS = 150
EARLIER_MS, LATER_MS = -400, 400

Killers = dict[str, tuple[Story, ...]]


def rule_broken(story: Story, mutant: str) -> str:
    """Return the promise that a story shows to be broken without some guards and kept with them; empty where it shows nothing."""
    with without(mutant):
        found = play(story).violations
    if not found or found[0].rule == FAULT or play(story).violations:
        return ""
    return found[0].rule


def near(story: Story) -> Iterator[Story]:
    """Yield stories that differ from one by luck, and by when things happen in it."""
    for number in range(1, NEAR + 1):
        shift_ms = EARLIER_MS + (LATER_MS - EARLIER_MS) * number // NEAR if number % 2 else 0
        acts = tuple(_moved(act, shift_ms if act is not story.acts[0] else 0) for act in story.acts)
        yield replace(story, seed=story.seed + 1_000 * number, acts=acts)


def first_killer(mutant: str, stories: Iterable[Story]) -> tuple[Story, str] | None:
    """Return the first story that a mutant does not survive, of those given or near them, and the promise that it breaks."""
    stories = list(stories)
    for story in chain(stories, *map(near, stories)):
        if rule := rule_broken(story, mutant):
            return story, rule
    return None


def hunt(mutant: str, stored: Iterable[Story], seeds: range) -> list[Story]:
    """Return up to ``KEPT`` short stories that a mutant does not survive: stored ones, those near them, those of some seeds."""
    stored = list(stored)
    found: list[Story] = []
    with quiet(), remembering() as memory:
        for story in chain(stored, *map(near, stored), map(story_of, seeds)):
            memory.forget()
            if len(found) == KEPT:
                break
            if any(story.acts == one.acts for one in found):
                continue
            if rule := rule_broken(story, mutant):
                short = shortest(story, rule, mutant, SHRINKS) if len(story.acts) > 2 else story
                found.append(short if rule_broken(short, mutant) else story)
    return found


def caught(killers: Killers) -> dict[str, str]:
    """Return for each mutant the promise that a story, stored or near one, shows to be broken; empty where it is not caught."""
    with quiet(), remembering():
        found = {name: first_killer(name, killers.get(name, ())) for name in sorted(MUTANTS)}
    return {name: one[1] if one is not None else "" for name, one in found.items()}


def read() -> Killers:
    """Return the stored stories."""
    with contextlib.suppress(FileNotFoundError):
        return msgspec.json.decode(STORED.read_bytes(), type=Killers)
    return {}


def store(killers: Killers) -> None:
    """Store stories, one line each."""
    blocks = []
    for name in sorted(killers):
        lines = ",\n".join(f"  {msgspec.json.encode(story).decode()}" for story in killers[name])
        blocks.append(f"{msgspec.json.encode(name).decode()}: [\n{lines}\n]")
    STORED.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


def _moved(act: Act, by_ms: int) -> Act:
    return replace(act, at_ms=max(0, act.at_ms + by_ms))
