"""Some seconds of a whole fleet as arrays: what was, and what of it arrived."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

OLD, NEW = "v1", "v2"
NOBODY: Integers = np.zeros(0, dtype=np.int64)


class Block(Struct, frozen=True, kw_only=True):
    """Seconds in a row with nothing ordered in between. Axes: seconds, nodes, slots. Nodes are in the order of their names."""

    start_ms: int
    names: tuple[str, ...]
    zones: tuple[str, ...]
    """Of each node."""
    requests: Integers
    errors: Integers
    counts: Integers
    heard: Flags
    """Whether the row of a node's second arrived in time."""
    agent_heard: Flags
    serving: Flags
    """False while a node restarts or is down."""
    late: Flags
    doubled: Flags
    exits: Integers
    """[seconds, nodes]: unordered exits since the last ordered start."""
    changed_ms: Integers
    """[nodes]: when each was last ordered to restart; 0: never."""
    saturation: Floats | None = None
    """[seconds, nodes]: a gauge, where the fault is one of a gauge."""
    version: str = OLD
    """Of the canaries."""
    canary: Integers = NOBODY
    control: Integers = NOBODY
    rest: Integers = NOBODY

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def age_s(self) -> Floats:
        """[seconds, nodes]: from the order to restart to the end of the second, as a judge sees it."""
        ends_ms = self.start_ms + 1_000 * np.arange(1, len(self) + 1)
        return np.where(self.changed_ms > 0, (ends_ms[:, None] - self.changed_ms[None, :]) / 1_000, np.inf)

    def slow(self, edges: tuple[int, ...]) -> Integers:
        """Return int64[seconds, nodes, edges]: requests in slots above each edge."""
        above = np.flip(np.cumsum(np.flip(self.counts, axis=-1), axis=-1), axis=-1)
        return above[..., [edge + 1 for edge in edges]]

    def sums(self, nodes: Integers) -> tuple[Integers, Integers, Integers]:
        """Return requests [seconds], errors [seconds] and counts [seconds, 160] of what arrived from some nodes."""
        heard = self.heard[:, nodes]
        requests, errors = (self.requests[:, nodes] * heard).sum(1), (self.errors[:, nodes] * heard).sum(1)
        return requests, errors, (self.counts[:, nodes] * heard[:, :, None]).sum(1)
