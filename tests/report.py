"""Turn the XML of pytest into the JSON that every make target leaves: python tests/report.py build/check.xml build/check.json."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

SLOWEST = 10


def report(xml: Path) -> dict[str, object]:
    """Return counts, seconds, what failed, what tests said, and the slowest of them."""
    suites = ET.parse(xml).getroot().iter("testsuite")  # noqa: S314 - written by pytest a moment ago
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    seconds, failed, said, slowest = 0.0, [], [], []
    for suite in suites:
        seconds += float(suite.get("time", 0))
        for name in counts:
            counts[name] += int(suite.get(name, 0))
        for case in suite.iter("testcase"):
            name = f"{case.get('classname')}::{case.get('name')}"
            slowest.append((float(case.get("time", 0)), name))
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(name)
            said.extend({"test": name, "figure": one.get("value")} for one in case.iter("property") if one.get("name") == "said")
    slow = [{"test": name, "seconds": took} for took, name in sorted(slowest, reverse=True)[:SLOWEST]]
    return {**counts, "seconds": round(seconds, 1), "failed": failed, "said": said, "slowest": slow}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(report(Path(sys.argv[1])), indent=2) + "\n")
