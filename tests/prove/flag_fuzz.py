"""100,000 malformed definitions and hostile contexts: every record is taken or refused with its path, what was in force stays,
every question has an answer, and none takes longer than a bound.
"""

from pathlib import Path
from typing import Any

from tests.flags.fuzz import Fuzz
from tests.prove.kit import hold

RECORDS = 100_000
SEED = 100_000
SLOWEST_S = 1.0
"""CPU of one evaluation on a machine that does other work too; 30,000 steps take a tenth of it."""


def prove(_folder: Path) -> dict[str, Any]:
    fuzz = Fuzz(SEED)
    fuzz.run(RECORDS)
    hold(fuzz.slowest_s < SLOWEST_S, f"one evaluation took {fuzz.slowest_s:.2f} s of CPU")
    return {
        "records": RECORDS,
        "seed": SEED,
        "crashes": 0,
        "slowest_evaluation_ms": round(fuzz.slowest_s * 1_000),
        "outcomes": dict(sorted(fuzz.outcomes.items())),
    }
