"""What sequential evidence costs, in process: CPU of a second of a rollout and of a quiet one, bytes of what is remembered.

One core, no broker: ``PYTHONPATH=. .venv/bin/python -m tests.bench --only evidence`` starts none. The fleet is simulated (every
nuisance on, three zones); making its seconds is not timed, nor is the folding of rows into panes.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec
import numpy as np

from tidegate.detect.drift import state as drifting
from tidegate.detect.drift.arrays import pack
from tidegate.detect.drift.metrics import METRICS
from tidegate.detect.drift.state import Drift
from tidegate.kpi.pane import ServicePane
from tidegate.sim import NEW, WORLDS, Episode, Past, Run
from tidegate.worker.checkpoints import pack as compressed

CANARIES, CONTROLS, OTHERS = 20, 20, 200
SECONDS = 3_600
OBSERVE_MOST_MS, STATE_MOST_BYTES = 1.0, 50_000
Result = TypeVar("Result")
_ENCODER = msgspec.msgpack.Encoder(enc_hook=pack)


def evidence(seconds: int = SECONDS) -> dict[str, object]:
    """Measure a rollout of so many seconds. CPU in ms a second: the median, which other work on the machine moves least."""
    past = Past(quiet_s=600, lasts_s=600)
    episode = Episode(
        world=WORLDS["zones"],
        canaries=CANARIES,
        controls=CONTROLS,
        others=OTHERS,
        hours=seconds / 3_600,
        history_s=1_800,
        past=past,
    )
    run = Run(episode, np.random.default_rng(1))
    drift, quiet_ms = Drift(), []
    changed_ms: dict[str, int] = {}
    for second in run.prelude():
        pane = second.pane(drift.past.edges)
        if second.context.placement:
            drift = drifting.begin(drift, second.context.rollout, "")
            drift, _ = drifting.observe(drift, pane, second.context.placement, _ages_s(pane, changed_ms))
        else:
            drift = _timed(quiet_ms, partial(drifting.learn, drift, pane))
    learned_bytes = len(_ENCODER.encode(drift.past))
    drift, rollout_ms = drifting.begin(drift, "r1", NEW), []
    largest = 0
    for number, second in enumerate(run.rollout()):
        pane = second.pane(drift.past.edges)
        observed = partial(drifting.observe, drift, pane, second.context.placement, _ages_s(pane, changed_ms))
        drift, _ = _timed(rollout_ms, observed)
        if number % 60 == 59:
            largest = max(largest, len(_ENCODER.encode(drift.counts)))
    state = _ENCODER.encode(drift.counts)
    return {
        "nodes": {"canaries": CANARIES, "controls": CONTROLS, "others": OTHERS},
        "metrics": len(METRICS),
        "seconds": seconds,
        "rollout_ms": {"p50": round(statistics.median(rollout_ms), 3), "mean": round(statistics.fmean(rollout_ms), 3)},
        "rollout_most_ms": OBSERVE_MOST_MS,
        "quiet_ms": {"p50": round(statistics.median(quiet_ms), 3), "mean": round(statistics.fmean(quiet_ms), 3)},
        "rollout_bytes": {"largest": largest, "at_the_end": len(state), "compressed": len(compressed(0, state).state)},
        "rollout_most_bytes": STATE_MOST_BYTES,
        "past_bytes": learned_bytes,
        "learned_bytes": len(_ENCODER.encode(drift.learned)),
        "onsets": len(drift.counts.onsets),
    }


def _timed(spent_ms: list[float], work: Callable[[], Result]) -> Result:
    began_s = time.process_time()
    found = work()
    spent_ms.append(1_000 * (time.process_time() - began_s))
    return found


def _ages_s(pane: ServicePane, changed_ms: dict[str, int]) -> dict[str, float]:
    """Return the ages of the compared nodes, as the judge knows them from their agents' rows."""
    for name in ("canary", "control"):
        cohort = pane.cohorts.get(name)
        for node, row in cohort.nodes.items() if cohort is not None else ():
            if row.changed_ms:
                changed_ms[node] = row.changed_ms
    compared = {node for name in ("canary", "control") if name in pane.cohorts for node in pane.cohorts[name].expected}
    return {node: (pane.end_ms - at_ms) / 1_000.0 for node, at_ms in changed_ms.items() if node in compared}
