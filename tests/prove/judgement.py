"""The judgement on 1,000 healthy hours of simulated fleets, and in worlds that it was not calibrated for; delays, licences.

Takes hours of both cores. Each finished piece is kept in build/judgement.jsonl: an interruption loses nothing, and code that is
changed begins anew. TIDEGATE_PROVE_HOURS and TIDEGATE_PROVE_PROCESSES make it shorter or leave a core free.
"""

import json
import os
from pathlib import Path
from typing import Any

from tests.bench.judgement import plan
from tests.bench.judgement.picture import picture
from tests.bench.judgement.runner import run
from tests.bench.judgement.summary import summary, text
from tests.prove.kit import ROOT

SEED = 1_000
HOURS = 1_000


def prove(folder: Path) -> dict[str, Any]:
    """Return the figures; also into build/prove.json, and as a picture into docs/pictures."""
    hours = int(os.environ.get("TIDEGATE_PROVE_HOURS", HOURS))
    processes = int(os.environ.get("TIDEGATE_PROVE_PROCESSES", os.cpu_count() or 1))
    pieces = plan.long(SEED, hours)
    print(f"judgement: {plan.shown(pieces)}", flush=True)
    result = summary(run(pieces, ROOT / "build" / "judgement.jsonl", processes), SEED)
    print("\n".join(text(result)), flush=True)
    (ROOT / "build" / "prove.json").write_text(json.dumps(result, indent=2) + "\n")
    drawn = ROOT / "docs" / "pictures" / "judgement.svg"
    drawn.parent.mkdir(parents=True, exist_ok=True)
    drawn.write_text(picture(result))
    return result
