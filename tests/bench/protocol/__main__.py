"""``make sim-protocol``: deciders and nodes in simulated worlds, under every fault there is -> build/sim-protocol.json.

Every story of a seed is the same on every machine: ``ARGS="--tell 4711"`` tells it in words, cut short where it fails.
``ARGS="--hunt NAME"`` looks for a new story that a mutant does not survive, and stores it.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from tests.protocol import runner
from tests.protocol.mutants import MUTANTS

ROOT = Path(__file__).parents[3]
BUILD = ROOT / "build"
KILLERS = ROOT / "tests" / "protocol" / "killers.json"
TOLD_MOST = 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="make sim-protocol", description=__doc__)
    parser.add_argument("--schedules", type=int, default=50_000, help="stories to play (50000)")
    parser.add_argument("--seed", type=int, default=1, help="of the first one (1)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once; all cores by default")
    parser.add_argument("--tell", type=int, metavar="SEED", help="tell one story and end")
    parser.add_argument("--hunt", action="append", choices=sorted(MUTANTS), metavar="MUTANT", help="find its story anew and end")
    arguments = parser.parse_args()
    if arguments.tell is not None:
        sys.exit(tell(arguments.tell))
    if arguments.hunt:
        sys.exit(hunt(arguments.hunt, arguments.seed, arguments.schedules))
    result = prove(arguments.seed, arguments.schedules, arguments.processes)
    BUILD.mkdir(exist_ok=True)
    (BUILD / "sim-protocol.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    sys.exit(1 if result["violations"] or result["mutants_caught"] < result["mutants"] else 0)


def prove(seed: int, schedules: int, processes: int) -> dict[str, object]:
    """Play stories, and every mutant's own; say what came of it, and tell what failed."""
    began_s = time.monotonic()
    tally = runner.run(seed, schedules, processes)
    took_s = time.monotonic() - began_s
    caught = runner.caught(runner.read_killers(KILLERS.read_bytes()))
    for failed in tally.failed[:TOLD_MOST]:
        tell(failed.seed)
    return {
        "schedules": tally.stories,
        "violations": len(tally.failed),
        "applied_changes": tally.launches,
        "per_second": round(tally.stories / took_s, 1),
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


def hunt(mutants: list[str], seed: int, schedules: int) -> int:
    """Find stories that mutants do not survive, and store them."""
    missed = 0
    for mutant in mutants:
        found = runner.hunt(mutant, seed, schedules)
        if found is None:
            print(f"{mutant}: survives {schedules} stories", flush=True)
            missed += 1
            continue
        killers = runner.read_killers(KILLERS.read_bytes()) if KILLERS.exists() else {}
        KILLERS.write_bytes(runner.write_killers(killers | {mutant: found[0]}))
        print("\n".join([f"{mutant}: {found[1].rule} {found[1].sentence}", *runner.told(found[0], mutant)]), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    main()
