"""A hundred live rollouts on real Kafka while deciders, nodes, ways, clocks, a disk and the broker are harmed.

Ten installations one after the other (``tests/scenarios/kills``), ten rounds each, every one with a verifier process of its own.
What an installation came to is kept in ``build/kills/`` until all have been played: a proof that was stopped goes on there.
"""

import asyncio
import json
import logging
import shutil
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import structlog
from tests.prove.kit import ROOT, Refuted, hold
from tests.scenarios.kills.faults import Kind
from tests.scenarios.kills.people import Late
from tests.scenarios.kills.play import Course, play

ROUNDS = 100
ROUNDS_AT_ONCE = 10
FIRST_SEED = 1_000
LEADER_KILLS = 2
"""In each five rounds."""
TAKEOVER_MOST_MS = 15_000
DONE = ROOT / "build" / "kills"
SUMMED = (
    "applied_changes",
    "lost",
    "doubled",
    "contradicting",
    "committed_changes",
    "called_back_before_begun",
    "starts_that_never_counted",
    "documents",
    "decisions",
    "questions",
    "epochs",
    "void_records",
)


def prove(folder: Path) -> dict[str, Any]:
    """Play what has not been played yet; sum up. Refuted where anything was lost, doubled or contradicting."""
    # In the middle of faults every client has much to complain of; that of the agents stands in their logs.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    DONE.mkdir(parents=True, exist_ok=True)
    seeds = range(FIRST_SEED, FIRST_SEED + ROUNDS // ROUNDS_AT_ONCE)
    paths = [_played(folder, seed) for seed in seeds]
    result = summed([json.loads(path.read_text()) for path in paths])
    for path in paths:
        path.unlink()
    return result


def summed(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sum of what installations came to. Refuted where anything is wrong with it."""
    found = [finding for part in parts for finding in part["findings"]]
    hold(not found, f"{len(found)} findings: {found[:3]}")
    faults = Counter[str]()
    rollouts = Counter[str]()
    for part in parts:
        faults.update(part["faults"])
        rollouts.update(part["rollouts"])
    missing = sorted({kind.name for kind in Kind} - faults.keys())
    hold(not missing, f"never happened: {', '.join(missing)}")
    takeovers = sorted(took for part in parts for took in part["takeovers_ms"])
    after = sorted(took for part in parts for took in part["applied_after_ms"])
    hold(takeovers[-1] <= TAKEOVER_MOST_MS, f"a takeover took {takeovers[-1]} ms")
    rounds = faults.pop("ROUND")
    return {
        "rounds": rounds,
        "installations": len(parts),
        "played_s": sum(part["played_s"] for part in parts),
        "deciders": parts[0]["deciders"],
        "nodes": parts[0]["nodes"],
        **{name: sum(part[name] for part in parts) for name in SUMMED},
        "takeovers": len(takeovers),
        "takeover_ms": {"median": round(median(takeovers)), "max": takeovers[-1]},
        "undisturbed_changes": len(after),
        "command_to_applied_ms": {"median": round(median(after)), "p99": after[len(after) * 99 // 100], "max": after[-1]},
        "ended_otherwise_than_meant": [one for part in parts for one in part["otherwise"]],
        "rollouts": dict(sorted(rollouts.items())),
        "faults": dict(sorted(faults.items())),
        "seeds": [parts[0]["seed"], parts[-1]["seed"]],
    }


def _played(folder: Path, seed: int) -> Path:
    """Return the file with what an installation came to; play it where there is none."""
    path = DONE / f"{seed}.json"
    if not path.exists():
        at = folder / str(seed)
        at.mkdir()
        began_s = time.monotonic()
        course = Course(seed, ROUNDS_AT_ONCE, kills=LEADER_KILLS)
        try:
            found = asyncio.run(play(at, course, lambda line: print(line, flush=True)))
        except Late as late:
            kept = DONE / f"{seed}-late"
            shutil.copytree(at, kept, ignore=shutil.ignore_patterns("broker", "keys", "home", "decide-?"), dirs_exist_ok=True)
            raise Refuted(f"seed {seed}, logs in {kept}: {late}") from late
        found["played_s"] = round(time.monotonic() - began_s)
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(found))
        beside.replace(path)
    return path
