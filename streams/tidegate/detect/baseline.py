"""The subject's own past, for when nobody is left to compare with (C3).

While nothing is rolled out the panes of the last 10 minutes are learned, in blocks of a minute. The first placement of a
rollout freezes their sum, which is then kept through all its placements.
"""

from msgspec import Struct
from msgspec.structs import replace

from tidegate.kpi.pane import ServicePane
from tidegate.kpi.sums import Sums, plus

BLOCK_MS = 60_000
BLOCKS = 10
PANES_MIN = 10
BEFORE_PANES = 30
REQUESTS_MIN = 100
"""Less than this is no baseline: a handful of requests says nothing about a share of 1 %."""


class Baseline(Struct, frozen=True):
    """Blocks (start in ms, sums), oldest first, of one version; once frozen, their sum and the rollout it was frozen for."""

    version: str = ""
    blocks: tuple[tuple[int, Sums], ...] = ()
    rollout: str = ""
    total: Sums | None = None

    @property
    def before(self) -> Sums | None:
        """The last half minute to two before the rollout; None without a baseline. Whoever failed then did so without it."""
        if self.total is None:
            return None
        found = Sums()
        for _, sums in reversed(self.blocks):
            found = plus(sums, found)
            if found.panes >= BEFORE_PANES:
                break
        return found


def learn(baseline: Baseline, pane: ServicePane) -> Baseline:
    """Return the baseline with a pane in which nothing was being rolled out. A change of version starts it anew."""
    rest = pane.cohorts.get("rest")
    if rest is None:
        return baseline
    changed = bool(rest.version and baseline.version and rest.version != baseline.version)
    version = rest.version or baseline.version
    blocks = () if changed else _recent(baseline.blocks, pane.start_ms)
    sums = rest.sums
    if sums.requests:
        start_ms = pane.start_ms // BLOCK_MS * BLOCK_MS
        if blocks and blocks[-1][0] == start_ms:
            blocks = (*blocks[:-1], (start_ms, plus(blocks[-1][1], sums)))
        else:
            blocks = (*blocks, (start_ms, sums))
    return Baseline(version=version, blocks=blocks)


def freeze(baseline: Baseline, rollout: str, rest_version: str, start_ms: int) -> Baseline:
    """Return the baseline as it stands for a rollout: frozen at its first placement, the same for all later ones.

    There is none (``total`` None) where too little was seen, or where what was seen is not the version that the rollout replaces.
    """
    if baseline.rollout == rollout:
        return baseline
    total = Sums()
    if not baseline.version or baseline.version == rest_version:
        for _, sums in _recent(baseline.blocks, start_ms):
            total = plus(total, sums)
    enough = total.panes >= PANES_MIN and total.requests >= REQUESTS_MIN
    return replace(baseline, rollout=rollout, total=total if enough else None)


def _recent(blocks: tuple[tuple[int, Sums], ...], now_ms: int) -> tuple[tuple[int, Sums], ...]:
    return tuple(block for block in blocks if block[0] > now_ms - (BLOCKS + 1) * BLOCK_MS)
