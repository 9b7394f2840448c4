"""``make prove``: the proofs that take minutes. Each is one file here with ``prove(folder) -> dict``; results are committed.

What a proof returns is written to ``docs/proofs/<name>.json``: figures with their N and conditions. One that does not hold raises
``Refuted``, and nothing of it is written.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from tests.prove.kit import Refuted

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES = sorted(path.stem for path in HERE.glob("[a-z]*.py") if path.stem != "kit")


def conditions() -> dict[str, object]:
    """Return what a figure was measured on: a reader must be able to judge it."""
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="make prove", description=__doc__)
    parser.add_argument("--only", choices=NAMES, action="append", help="this proof (may be repeated); all by default")
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "proofs", help="folder of the results")
    arguments = parser.parse_args()
    refuted = False
    for name in arguments.only or NAMES:
        began_s = time.monotonic()
        print(f"{name}: ...", flush=True)
        try:
            with tempfile.TemporaryDirectory(prefix=f"tidegate-{name}-") as folder:
                found = importlib.import_module(f"tests.prove.{name}").prove(Path(folder))
        except Refuted as refutation:
            print(f"{name}: REFUTED: {refutation}", file=sys.stderr)
            refuted = True
            continue
        took_s = round(time.monotonic() - began_s)
        result = {"conditions": conditions(), "took_s": took_s} | found
        arguments.into.mkdir(parents=True, exist_ok=True)
        (arguments.into / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
        print(f"{name}: {json.dumps(found)} ({took_s} s)", flush=True)
    sys.exit(1 if refuted else 0)


if __name__ == "__main__":
    main()
