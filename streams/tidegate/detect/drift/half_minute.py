"""The half minute that speaks most against fewer than three canaries: it is left out, since an incident of one server lasts up to
20 s and nobody could tell it from a regression before it is over.
"""

import numpy as np
from msgspec.structs import replace

from tidegate.detect.drift.layout import Counts, cells, size_of
from tidegate.detect.drift.metrics import COUNT, Floats

FEW = 3
WORST_S = 30
LEFT_S = 3
"""So many seconds must be left of an onset besides its worst half minute before they say anything."""
PULL = 3.0
"""Events by which the rate of a cell is drawn to that of all cells: a cell with next to no events has no rate of its own."""


def rung(counts: Counts, added: Floats, end_ms: int) -> Counts:
    """Keep the last half minute second by second, and for each onset its worst one, while there are fewer than three canaries."""
    if size_of(counts) >= FEW:
        return replace(counts, ring=counts.ring[:0, :0], worst=counts.worst[:0, :0]) if counts.ring.size else counts
    second = added[None].astype(np.float32)
    ring = counts.ring if counts.ring.shape[1] == second.shape[1] else second[:0]
    return _worst(replace(counts, ring=np.concatenate((ring[1 - WORST_S :], second))), end_ms)


def _worst(counts: Counts, end_ms: int) -> Counts:
    """Compare the half minute that ends now with the worst so far, onset by onset."""
    worst = counts.worst
    if worst.shape[:2] != (len(counts.onsets), counts.ring.shape[1]):
        worst = np.zeros((len(counts.onsets), counts.ring.shape[1], COUNT), dtype=np.float32)
    if not len(worst):
        return counts
    sums = np.cumsum(counts.ring[::-1], axis=0, dtype=np.float64)
    # No second from before an onset may be in its window: what would be left then is no part of anything.
    lengths = [min(len(sums), max(1, (end_ms - onset.start_ms) // 1_000)) for onset in counts.onsets]
    found = sums[np.array(lengths) - 1]
    both = np.stack((found, worst))
    mine = 2 * 2 * len(counts.groups)
    inside = cells(counts)
    canary = both[:, :, :mine].reshape(2, len(worst), 2, -1, COUNT)
    others = counts.others - counts.marks.others
    others[:, :, len(counts.strata) :] += counts.controls - counts.marks.controls
    level = (others[:, 0].sum(axis=1) + 0.5) / np.maximum(others[:, 1].sum(axis=1), 1e-9)
    at = (others[:, 0] + PULL * 1.0) / np.maximum(others[:, 1] + PULL / level[:, None], 1e-9)
    excess = ((inside @ canary[:, :, 0]) - (inside @ canary[:, :, 1]) * at).sum(axis=2)
    better = excess[0] > excess[1]
    return replace(counts, worst=np.where(better[:, None], found, worst).astype(np.float32))
