"""What rivals see of a block: sums of each side, second by second, of the rows that arrived; and how they are asked."""

from typing import NamedTuple, Protocol

import numpy as np

from tidegate.sim import Block

WARM_UP_S = 60
"""After the restart, in which every rival is spared the cold start (detection.md 3)."""


class Sums(NamedTuple):
    """requests [seconds], errors [seconds], counts [seconds, 160]."""

    requests: np.ndarray
    errors: np.ndarray
    counts: np.ndarray


class Sides(NamedTuple):
    """``old``: every node of the old version, controls among them."""

    canary: Sums
    control: Sums
    old: Sums


def sides_of(block: Block) -> Sides:
    """Return the sums of a block."""
    canary, control, rest = (Sums(*block.sums(nodes)) for nodes in (block.canary, block.control, block.rest))
    old = Sums(*(a + b for a, b in zip(control, rest, strict=True)))
    return Sides(canary, control if len(block.control) else old, old)


class Rival(Protocol):
    """A method of judging a rollout. Mutable; a deep copy goes on as the original would."""

    def learn(self, counts: np.ndarray) -> None:
        """Take the latency counts of the history before the rollout, [160]."""

    def look(self, sides: Sides) -> int | None:
        """Take the next seconds; return after how many of them it rolls back, or None. Not to be asked again then."""


class Minutes:
    """Sums of whole minutes of one side, after the warm-up."""

    def __init__(self) -> None:
        self._second = 0
        self._sums = (0, 0, np.zeros(160, dtype=np.int64))

    def over(self, sums: Sums) -> list[tuple[int, int, int, np.ndarray]]:
        """Take seconds; return (seconds of these after which it ended, requests, errors, counts) of each minute that is over."""
        found, begin, length = [], 0, len(sums.requests)
        while begin < length:
            end = min(length, begin + 60 - self._second % 60)
            requests, errors, counts = self._sums
            of = slice(begin, end)
            self._sums = (
                requests + int(sums.requests[of].sum()),
                errors + int(sums.errors[of].sum()),
                counts + sums.counts[of].sum(axis=0),
            )
            self._second += end - begin
            if self._second % 60 == 0:
                if self._second > WARM_UP_S:
                    found.append((end, *self._sums))
                self._sums = (0, 0, np.zeros(160, dtype=np.int64))
            begin = end
        return found


def quantile_s(counts: np.ndarray, share: float) -> float:
    """Return a quantile in seconds, even inside its bucket on a logarithmic scale."""
    below = np.cumsum(counts)
    target = share * below[-1]
    slot = int(np.searchsorted(below, target))
    inside = (target - (below[slot] - counts[slot])) / max(1, counts[slot])
    return float(2.0 ** ((slot + inside - 80) / 8))
