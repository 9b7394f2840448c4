"""How long a page's main thread was at one task, in time of its processor: on a machine that others use, too, a clock on the wall
says more of them.
"""

import json

CATEGORIES = ["toplevel"]
MAIN = "CrRendererMain"


def tasks_ms(trace: bytes) -> list[float]:
    """Return how long each task of the main threads of a trace took, in ms."""
    events = json.loads(trace)["traceEvents"]
    main = {(one["pid"], one["tid"]) for one in events if one["name"] == "thread_name" and one["args"]["name"] == MAIN}
    return [one.get("tdur", 0) / 1_000 for one in events if one["name"].endswith("RunTask") and (one["pid"], one["tid"]) in main]
