"""A million schedules of deciders and nodes in simulated worlds, under every fault there is: no promise is broken, and without
any one guard a stored story breaks one.
"""

import os
from pathlib import Path

from tests.bench.protocol.__main__ import prove as play_and_judge
from tests.prove.kit import hold

SCHEDULES = 1_000_000
SEED = 2_000_000
"""Other seeds than those of ``make sim-protocol`` and of the suite."""


def prove(folder: Path) -> dict[str, object]:
    """Play a million stories, and every mutant's own."""
    found = play_and_judge(SEED, SCHEDULES, os.cpu_count() or 1)
    hold(found["violations"] == 0, f"{found['violations']} of {SCHEDULES} stories break a promise: {found['failed']}")
    hold(found["mutants_caught"] == found["mutants"], f"a mutant is not caught: {found['caught_by']}")
    return {name: value for name, value in found.items() if name not in ("failed", "took_s")}
