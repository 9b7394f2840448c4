"""Latencies as bucket counts, for many cells (a node's second) at once."""

import numpy as np
from numpy.typing import NDArray

from tidegate.sim.world import World
from tidegate.wire.telemetry import HISTOGRAM_OFFSET, HISTOGRAM_SCALE, HISTOGRAM_SLOTS

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
SLOTS_PER_NAT = 2**HISTOGRAM_SCALE / np.log(2.0)


def draw(world: World, rng: np.random.Generator, requests: Integers, slower: Floats, tail: Floats) -> Integers:
    """Return int64[..., 160] counts of ``requests`` latencies a cell.

    ``slower`` and ``tail`` are logarithms of factors: of every request, and of those in the tail besides.
    """
    cells = requests.size
    flat = requests.ravel()
    slow = rng.binomial(flat, world.tail_share)
    parts = (
        (flat - slow, np.log(world.median_s) + slower.ravel(), world.sigma),
        (slow, np.log(world.tail_median_s) + (slower + tail).ravel(), world.tail_sigma),
    )
    found = np.zeros(cells * HISTOGRAM_SLOTS, dtype=np.int64)
    for numbers, middles, sigma in parts:
        middle = (middles * SLOTS_PER_NAT - HISTOGRAM_OFFSET).astype(np.float32)
        at = rng.standard_normal(int(numbers.sum()), dtype=np.float32)
        at *= np.float32(sigma * SLOTS_PER_NAT)
        at += np.repeat(middle, numbers)
        np.clip(at, 0, HISTOGRAM_SLOTS - 1, out=at)
        slots = at.astype(np.int64)  # buckets are open below: the whole part is the slot
        slots += np.repeat(np.arange(cells) * HISTOGRAM_SLOTS, numbers)
        found += np.bincount(slots, minlength=len(found))
    return found.reshape(*requests.shape, HISTOGRAM_SLOTS)
