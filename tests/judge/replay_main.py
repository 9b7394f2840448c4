"""Fold one made-up log and print the digest of everything that came out: to be run under different hash seeds."""

import hashlib
import sys

import msgspec
from tests.kpi.rows import T0, histogram, record, row

from tidegate.judge import JudgeState, step
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.telemetry import ServiceState, Slice, Source

FLAG = "flag/web/dark"


def outcomes():
    state = JudgeState()
    cohorts = (
        CohortMembers(name="canary", version="v2", nodes=("n0", "n1", "n2")),
        CohortMembers(name="control", version="v1", nodes=("n3", "n4", "n5")),
    )
    placed = {"placement": "p1", "rollout": "r.1", "rest_version": "v1", "stage_nodes": 3, "min_requests": 10, "started_ms": T0}
    for service in ("shop", "cart", "mail"):
        yield step(
            state, Context(subject=f"svc/{service}", service=service, epoch=1, generation=1, cohorts=cohorts, **placed), T0
        )
    sides = (
        CohortMembers(name="canary", version="c0ffee", variants=("newer", "new")),
        CohortMembers(name="control", version="safe", variants=("off",)),
    )
    for service in ("mail", "cart"):
        told = {"placement": "w10", "rollout": "d.1", "cohorts": sides, "min_requests": 10, "started_ms": T0}
        yield step(state, Context(subject=FLAG, service=service, epoch=1, generation=1, **told), T0)
    for second in range(40):
        rows = []
        for service in ("shop", "cart", "mail", "free"):
            for node in range(9):
                if (node, second % 7) == (8, 3) or (node == 5 and second > 30):
                    continue
                slow = histogram(*[0.01 * (1 + node)] * (20 + second % 5))
                version, gauges = "v2" if node < 3 else "v1", {"queue": 0.1 * node, "heap": 1.7 * second}
                fields = {"service": service, "seq": second + 1, "second": second, "version": version}
                failed = 5 * (service == "cart" and node < 3 and second > 25)
                told = {"requests": 20 + second % 5, "errors": failed, "latency": slow, "gauges": gauges}
                parts = {name: Slice(10, failed if name == "new" else 0, slow) for name in ("off", "new", "newer", "other")}
                slices = {f"{FLAG}={name}": one for name, one in parts.items()} if service == "cart" else {}
                rows.append(row(f"n{node}", slices=slices, **told, **fields))
                rows.append(row(f"n{node}", boot="agent", source=Source.AGENT, state=ServiceState.READY, **fields))
        yield step(state, record(rows, second + 1.2), T0 + 1_000_000)


if __name__ == "__main__":
    digest = hashlib.sha256()
    count = 0
    for outcome in outcomes():
        digest.update(msgspec.msgpack.encode(outcome))
        count += len(outcome.kpis) + len(outcome.scores) + len(outcome.verdicts) + len(outcome.alarms)
    sys.stdout.write(f"{count} {digest.hexdigest()}\n")
