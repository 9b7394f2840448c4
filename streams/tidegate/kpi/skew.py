"""How wrong a node's clock is (A4): the smallest (append time - own window end) of its last rows.

The smallest, because delays only ever add. Kept in two blocks of 30 rows, so that it covers the last 30 to 60.
"""

from msgspec import Struct

BLOCK_ROWS = 30
SHIFT_BEYOND_MS = 2_000
EXCLUDE_BEYOND_MS = 300_000
NODES_MAX = 50_000


class Offset(Struct, array_like=True):
    """Minima of the block before and of this one, and how many rows this one has."""

    before_ms: int
    current_ms: int
    rows: int


class Skews(Struct):
    """Offsets by node; the nodes known longest are forgotten first."""

    nodes: dict[str, Offset] = {}

    def shift_ms(self, node: str, delay_ms: int) -> int | None:
        """Take one row's (append - window end) in ms; return by how much its times are to be shifted: 0, an offset, or
        None to exclude.
        """
        offset = self.nodes.get(node)
        if offset is None:
            if len(self.nodes) >= NODES_MAX:
                del self.nodes[next(iter(self.nodes))]
            offset = self.nodes[node] = Offset(delay_ms, delay_ms, 0)
        if offset.rows >= BLOCK_ROWS:
            offset.before_ms, offset.current_ms, offset.rows = offset.current_ms, delay_ms, 0
        offset.rows += 1
        offset.current_ms = min(offset.current_ms, delay_ms)
        skew_ms = min(offset.before_ms, offset.current_ms)
        if abs(skew_ms) <= SHIFT_BEYOND_MS:
            return 0
        return skew_ms if abs(skew_ms) <= EXCLUDE_BEYOND_MS else None
