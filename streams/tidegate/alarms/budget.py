"""The error budget of a service: how fast it is being spent, over several windows at once.

An objective of 99.9 % allows 0.1 % of errors. *Burn rate* is how many times faster than that errors come: at 1 the budget of
30 days lasts 30 days, at 14.4 an hour spends 2 % of it. Google, *The Site Reliability Workbook* (2018), chapter 5, "Multiwindow,
Multi-Burn-Rate Alerts": a long window says that it matters, a short one, a twelfth of it, that it still goes on.

No test of a hypothesis: a burn rate is an exact count, and the guarantee is arithmetic. What was spent of the budget when an
alarm fires is at least its rate times its long window over 30 days.
"""

from collections.abc import Mapping

from msgspec import Struct

from tidegate.kpi.pane import ServicePane

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
WINDOWS_MS = (5 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, 72 * HOUR_MS)
"""The windows that the pairs of ``tidegate.alarms.rules.burn`` are made of."""
BLOCKS = 60
"""A window is kept as so many sums: 3 kB a service, and an age that is right to a sixtieth."""


class Block(Struct, frozen=True, array_like=True):
    """Requests and errors from ``start_ms`` on, for a sixtieth of a window."""

    start_ms: int
    requests: int
    errors: int


class Budget(Struct, frozen=True):
    """What was counted since ``since_ms``, by the length of the window in ms; plain data for the checkpoint."""

    objective: float
    """Percent of requests that shall succeed."""
    since_ms: int
    windows: dict[int, tuple[Block, ...]] = {}


class Burn(Struct, frozen=True):
    """How fast the budget was spent in one window, and by how many errors."""

    rate: float
    errors: int


def count(budget: Budget | None, objective: float | None, pane: ServicePane) -> Budget | None:
    """Return the budget with one more pane, all cohorts together. Another objective goes on with the same counts."""
    if objective is None:
        return None
    sums = [cohort.sums for cohort in pane.cohorts.values()]
    requests, errors = sum(one.requests for one in sums), sum(one.errors for one in sums)
    known: Mapping[int, tuple[Block, ...]] = budget.windows if budget is not None else {}
    return Budget(
        objective,
        budget.since_ms if budget is not None else pane.start_ms,
        {length_ms: _add(known.get(length_ms, ()), length_ms, pane.end_ms, requests, errors) for length_ms in WINDOWS_MS},
    )


def burn(budget: Budget, length_ms: int, now_ms: int) -> Burn:
    """Return the burn rate over the last ``length_ms``.

    What was not seen, because counting began later, is taken for as many requests without an error: else the first error of a
    new service would be a burning budget.
    """
    blocks = budget.windows.get(length_ms, ())
    requests, errors = sum(block.requests for block in blocks), sum(block.errors for block in blocks)
    if not requests:
        return Burn(0.0, 0)
    seen_ms = min(length_ms, max(1, now_ms - budget.since_ms))
    return Burn(errors / requests * (seen_ms / length_ms) / (1.0 - budget.objective / 100.0), errors)


def _add(blocks: tuple[Block, ...], length_ms: int, end_ms: int, requests: int, errors: int) -> tuple[Block, ...]:
    step_ms = length_ms // BLOCKS
    start_ms = (end_ms - 1) // step_ms * step_ms
    if blocks and blocks[-1].start_ms == start_ms:
        last = blocks[-1]
        return (*blocks[:-1], Block(start_ms, last.requests + requests, last.errors + errors))
    kept = tuple(block for block in blocks if block.start_ms >= end_ms - length_ms)
    return (*kept, Block(start_ms, requests, errors)) if requests else kept
