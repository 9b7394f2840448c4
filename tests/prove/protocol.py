"""A million schedules of deciders and nodes in simulated worlds, under every fault there is: no promise is broken, and without
any one guard a stored story breaks one.

It may be interrupted (Ctrl-C, SIGTERM, ``timeout``): what has been played by then is the result, with its N, and the next call
goes on from there (``build/prove-protocol.json``) as long as the code is the same. TIDEGATE_SCHEDULES names another number than a
million.
"""

import os
from pathlib import Path

from tests.bench.protocol.__main__ import prove as play_and_judge
from tests.prove.kit import ROOT, hold

SCHEDULES = int(os.environ.get("TIDEGATE_SCHEDULES", "1000000"))
SEED = 2_000_000
"""Other seeds than those of ``make sim-protocol`` and of the suite."""
KEPT = ROOT / "build" / "prove-protocol.json"
LEFT_OUT = ("failed", "took_s", "per_second")
"""Of the last sitting alone, where there were several."""


def prove(folder: Path) -> dict[str, object]:
    """Play a million stories, or as many as there is time for, and every mutant's own."""
    found = play_and_judge(SEED, SCHEDULES, os.cpu_count() or 1, KEPT)
    hold(found["violations"] == 0, f"{found['violations']} of {found['schedules']} stories break a promise: {found['failed']}")
    hold(found["mutants_caught"] == found["mutants"], f"a mutant is not caught: {found['caught_by']}")
    return {"schedules_wanted": SCHEDULES} | {name: value for name, value in found.items() if name not in LEFT_OUT}
