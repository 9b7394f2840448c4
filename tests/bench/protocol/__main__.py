"""``make sim-protocol``: deciders and nodes in simulated worlds, under every fault there is -> build/sim-protocol.json.

Every story of a seed is the same on every machine: ``ARGS="--tell 4711"`` tells it in words, cut short where it fails.
``ARGS="--hunt NAME"`` looks for stories that a mutant does not survive, and stores them; ``--hunt lost`` does so for each mutant
that some of its stored stories kill no more.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from tests.protocol import killers, runner
from tests.protocol.mutants import MUTANTS

from tidegate.sim.protocol import Story

ROOT = Path(__file__).parents[3]
BUILD = ROOT / "build"
TOLD_MOST = 3
SCHEDULES = 50_000
LOST = "lost"
HUNTED = 5_000
"""So many seeds a hunt looks at."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make sim-protocol", description=__doc__)
    parser.add_argument("--schedules", type=int, help="stories to play (50000; of a hunt 5000)")
    parser.add_argument("--seed", type=int, default=1, help="of the first one (1)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once; all cores by default")
    parser.add_argument("--tell", type=int, metavar="SEED", help="tell one story and end")
    hunted = [LOST, *sorted(MUTANTS)]
    parser.add_argument("--hunt", action="append", choices=hunted, metavar="MUTANT", help="find its stories anew and end")
    arguments = parser.parse_args()
    if arguments.tell is not None:
        sys.exit(tell(arguments.tell))
    if arguments.hunt:
        sys.exit(hunt(arguments.hunt, range(arguments.seed, arguments.seed + (arguments.schedules or HUNTED))))
    result = prove(arguments.seed, arguments.schedules or SCHEDULES, arguments.processes)
    BUILD.mkdir(exist_ok=True)
    (BUILD / "sim-protocol.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    sys.exit(1 if result["violations"] or result["mutants_caught"] < result["mutants"] else 0)


def prove(seed: int, schedules: int, processes: int, kept: Path | None = None) -> dict[str, object]:
    """Play stories, and every mutant's own; say what came of it, and tell what failed. ``kept``: as ``runner.run``."""
    began_s = time.monotonic()
    tally = runner.run(seed, schedules, processes, kept)
    took_s = time.monotonic() - began_s
    caught = killers.caught(killers.read())
    for failed in tally.failed[:TOLD_MOST]:
        tell(failed.seed)
    return {
        "schedules": tally.stories,
        "violations": len(tally.failed),
        "applied_changes": tally.launches,
        "per_second": round(tally.stories / took_s, 1) if kept is None else None,
        "per_second_of_a_core": round(tally.stories / tally.cpu_s, 1),
        "mutants": len(caught),
        "mutants_caught": sum(bool(rule) for rule in caught.values()),
        "seed": seed,
        "processes": processes,
        "took_s": round(took_s),
        "failed": [f"{failed.seed}: {failed.rule} {failed.sentence}" for failed in tally.failed[:20]],
        "caught_by": caught,
    }


def tell(seed: int) -> int:
    """Tell the story of a seed, as short as it can be where it fails."""
    story = runner.story_of(seed)
    violations = runner.play_many(range(seed, seed + 1)).failed
    if violations:
        story = runner.shortest(story, violations[0].rule)
    print("\n".join([f"story of seed {seed}: {story}", *runner.told(story)]), flush=True)
    return 1 if violations else 0


def hunt(mutants: list[str], seeds: range) -> int:
    """Find stories that mutants do not survive, and store them."""
    missed = 0
    stored = killers.read()
    for mutant in sorted(MUTANTS) if LOST in mutants else mutants:
        if LOST in mutants and whole(stored.get(mutant, ()), mutant):
            continue
        found = killers.hunt(mutant, stored.get(mutant, ()), seeds)
        if found:
            stored[mutant] = tuple(found)
            killers.store({name: stored[name] for name in sorted(stored.keys() & MUTANTS.keys())})
            print("\n".join([f"{mutant}: {len(found)} stories; the first:", *runner.told(found[0], mutant)]), flush=True)
        else:
            print(f"{mutant}: survives the stories of seeds {seeds.start} to {seeds.stop - 1}", flush=True)
            missed += 1
    return 1 if missed else 0


def whole(stories: tuple[Story, ...], mutant: str) -> bool:
    """Return whether a mutant has all its stories, and every one of them kills it."""
    with runner.quiet(), runner.remembering():
        return len(stories) == killers.KEPT and all(killers.rule_broken(story, mutant) for story in stories)


if __name__ == "__main__":
    main()
