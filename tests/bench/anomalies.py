"""Anomaly scores on simulated series with labelled anomalies: ``PYTHONPATH=. .venv/bin/python -m tests.bench.anomalies``.

Prints, per kind of series and at the one default threshold: false crossings per healthy series-day, and for each kind of
anomaly the share found, the precision by event, and the delay. An anomaly counts as found when the series crosses while it
lasts, at most a minute for one that goes on; every other crossing is false. No point adjustment (arXiv 2109.05257)."""

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from tidegate.detect.scores import ScoreState, score

DAY_S = 86_400
WITHIN_S = 60
"""How long after its onset an anomaly may be found."""
APART_S = 3_600
LEARN_S = 10_800
"""Seconds before the first anomaly."""

Rng = np.random.Generator
Values = np.ndarray


def white(rng: Rng, seconds: int) -> Values:
    return rng.normal(100, 5, seconds)


def wandering(rng: Rng, seconds: int, keep: float = 0.9) -> Values:
    noise = rng.normal(0, 5 * (1 - keep**2) ** 0.5, seconds)
    found = np.empty(seconds)
    level = 0.0
    for at, step in enumerate(noise.tolist()):
        level = keep * level + step
        found[at] = level
    return 100 + found


def diurnal(rng: Rng, seconds: int) -> Values:
    day = 1 + 0.5 * np.sin(2 * np.pi * np.arange(seconds) / DAY_S)
    return rng.poisson(200 * day * (wandering(rng, seconds) / 100)).astype(float)


def batch(rng: Rng, seconds: int) -> Values:
    """Three times the load for half an hour every day at two."""
    at = np.arange(seconds) % DAY_S
    return rng.poisson(200 * np.where((at >= 7_200) & (at < 9_000), 3.0, 1.0)).astype(float)


def bursty(rng: Rng, seconds: int) -> Values:
    """Counts of errors: few, with a burst of some seconds every few minutes."""
    found = rng.poisson(0.5, seconds).astype(float)
    for start in np.flatnonzero(rng.random(seconds) < 1 / 300):
        length = int(rng.integers(2, 8))
        found[start : start + length] += rng.poisson(rng.gamma(2, 5), len(found[start : start + length]))
    return found


def heavy(rng: Rng, seconds: int) -> Values:
    return 100 + 5 * rng.standard_t(2.5, seconds)


def ratio(rng: Rng, seconds: int) -> Values:
    """An error ratio: 0.1 % of 500 requests."""
    return rng.binomial(500, 0.001, seconds) / 500


def slow(rng: Rng, seconds: int) -> Values:
    return wandering(rng, seconds, keep=0.97)


WORLDS: dict[str, Callable[[Rng, int], Values]] = {
    "white noise": white,
    "AR(1) 0.9": wandering,
    "AR(1) 0.97": slow,
    "diurnal load": diurnal,
    "nightly batch": batch,
    "bursty counts": bursty,
    "heavy tails": heavy,
    "error ratio": ratio,
}
SHIFTS: dict[str, tuple[float, int]] = {"+5 sd, 2 min": (5, 120), "+10 sd, 30 s": (10, 30), "+30 sd, 10 s": (30, 10)}
"""Name to (size in standard deviations of the healthy series, seconds)."""


class Found(Struct, frozen=True):
    false: int
    healthy_days: float
    delays: dict[str, list[float]]
    """By kind of anomaly; one that was not found is infinite."""


def crossings(values: Values, start_ms: int = 0) -> list[int]:
    state = ScoreState()
    numbers = values.tolist()
    return [at for at, value in enumerate(numbers) if score(state, "s", "rest", "m", value, start_ms + 1000 * (at + 1)).crossing]


def healthy(world: Callable[[Rng, int], Values], days: int, seed: int) -> list[int]:
    return crossings(world(np.random.default_rng(seed), days * DAY_S))


def labelled(world: Callable[[Rng, int], Values], size: float, length: int, seed: int) -> tuple[list[float], int]:
    """Return the delay of each of some twenty anomalies in a day, and the false crossings of that day."""
    rng = np.random.default_rng(seed)
    values = world(rng, DAY_S)
    spread = float(np.std(values))
    onsets = range(LEARN_S, DAY_S - APART_S, APART_S)
    for onset in onsets:
        values[onset : onset + length] += size * spread
    found = crossings(values)
    delays, matched = [], set()
    for onset in onsets:
        hits = [at for at in found if onset <= at < onset + min(WITHIN_S, length)]
        matched |= {at for at in found if onset <= at < onset + length + WITHIN_S}
        delays.append(float(hits[0] - onset + 1) if hits else np.inf)
    return delays, len([at for at in found if at not in matched])


def row(name: str, series: int, seed: int = 0) -> list[str]:
    world = WORLDS[name]
    days = 4 if name == "nightly batch" else 1
    false = sum(len(healthy(world, days, seed + at)) for at in range(series))
    cells = [name, f"{false / (days * series):.2f}"]
    for size, length in SHIFTS.values():
        delays, extra = labelled(world, size, length, seed + 1_000)
        hits = np.isfinite(delays)
        delay = (
            f"{np.median(np.asarray(delays)[hits]):.0f}/{np.quantile(np.asarray(delays)[hits], 0.95):.0f} s"
            if hits.any()
            else "-"
        )
        cells.append(f"{hits.mean():.0%}, {hits.sum() / max(1, hits.sum() + extra):.0%}, {delay}")
    return cells


def main(arguments: Sequence[str]) -> None:
    series = int(arguments[0]) if arguments else 20
    print(f"| series | false crossings per day | {' | '.join(SHIFTS)} |")
    print("|---|---|" + "---|" * len(SHIFTS))
    for name in WORLDS:
        print(f"| {' | '.join(row(name, series))} |", flush=True)


if __name__ == "__main__":
    began = time.process_time()
    main(sys.argv[1:])
    print(f"{time.process_time() - began:.0f} s of CPU")
