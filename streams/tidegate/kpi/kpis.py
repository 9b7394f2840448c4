"""Sums as KPIs: rates, ratios, quantiles with the histogram's stated error, coverage."""

from bisect import bisect_left
from itertools import accumulate

from tidegate.kpi.buckets import MIDDLES_S, rank_of
from tidegate.kpi.pane import PANE_MS
from tidegate.kpi.sums import Sums
from tidegate.kpi.windows import Window
from tidegate.wire.judgement import Kpi
from tidegate.wire.names import service_subject
from tidegate.wire.nodeseconds import Context

SHARES = (0.50, 0.95, 0.99)
NONE = -1.0
"""What a quantile is without requests: a number, so that its column keeps one type."""


def kpi_of(service: str, cohort: str, end_ms: int, window_s: int, window: Window, context: Context | None) -> Kpi:  # noqa: PLR0917
    """Return the KPIs of one complete window. Quantiles are in ms, within 4.33 %."""
    sums = window.sums
    seconds = max(1, sums.panes) * PANE_MS / 1_000  # a cohort may have begun inside the window
    values = {f"gauge.{name}": value / rows for name, (value, rows) in sorted(sums.gauges.items())}
    values |= {f"ratio.{name}": part / whole for name, (part, whole) in sorted(sums.ratios.items()) if whole}
    values |= {f"counter.{name}": amount / seconds for name, amount in sorted(sums.counters.items())}
    values |= _of_probes(window.probes, seconds)
    p50_ms, p95_ms, p99_ms = _quantiles_ms(sums.counts)
    return Kpi(
        service=service,
        cohort=cohort,
        subject=context.subject if context is not None else service_subject(service),
        placement=context.placement if context is not None else "",
        version=window.version,
        window_s=window_s,
        start_ms=end_ms - window_s * PANE_MS,
        end_ms=end_ms,
        requests=sums.requests,
        errors=sums.errors,
        nodes=len(window.nodes),
        nodes_expected=-(-window.expected // sums.panes) if sums.panes else 0,
        coverage=window.reported / window.expected if window.expected else 0.0,
        rate=sums.requests / seconds,
        error_ratio=sums.error_ratio,
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        p99_ms=p99_ms,
        late_rows=window.late_rows,
        transition_rows=window.transition_rows,
        values=values,
    )


def _of_probes(sums: Sums, seconds: float) -> dict[str, float]:
    """Return what probes saw (I2), under names of its own; nothing where there were none."""
    if not sums.requests:
        return {}
    p50_ms, p95_ms, _ = _quantiles_ms(sums.counts)
    return {
        "probe.rate": sums.requests / seconds,
        "probe.error_ratio": sums.error_ratio,
        "probe.p50_ms": p50_ms,
        "probe.p95_ms": p95_ms,
    }


def _quantiles_ms(counts: list[int]) -> tuple[float, ...]:
    """Return each of ``SHARES``: the same as ``quantile_s`` says, in one pass."""
    seen = [*accumulate(counts)]
    if not seen or not seen[-1]:
        return (NONE,) * len(SHARES)
    return tuple(round(MIDDLES_S[bisect_left(seen, rank_of(seen[-1], share))] * 1000, 3) for share in SHARES)
