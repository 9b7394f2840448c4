"""``make sim``: the judgement and its rivals on simulated fleets, in minutes -> build/sim.json. ``make prove`` is longer."""

import argparse
import json
import os
import time
from pathlib import Path

from tests.bench.judgement import plan
from tests.bench.judgement.runner import run
from tests.bench.judgement.summary import summary, text

BUILD = Path(__file__).parents[3] / "build"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--hours", type=int, default=60, help="healthy hours in the world 'everything' (60)")
    parser.add_argument("--seed", type=int, default=1, help="of the first episode (1)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once; all cores by default")
    parser.add_argument("--again", action="store_true", help="take nothing up from an earlier run of the same code")
    arguments = parser.parse_args()
    began_s = time.monotonic()
    pieces = plan.short(arguments.seed, arguments.hours)
    print(f"sim: {plan.shown(pieces)}", flush=True)
    kept = BUILD / "sim.jsonl"
    if arguments.again:
        kept.unlink(missing_ok=True)
    result = summary(run(pieces, kept, arguments.processes), arguments.seed)
    result["took_s"] = round(time.monotonic() - began_s)
    (BUILD / "sim.json").write_text(json.dumps(result, indent=2) + "\n")
    print("\n".join(text(result)))
    print(f"build/sim.json ({result['took_s']} s)")


if __name__ == "__main__":
    main()
