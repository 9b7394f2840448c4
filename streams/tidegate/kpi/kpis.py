"""Sums as KPIs: rates, ratios, quantiles with the histogram's stated error, coverage."""

from tidegate.kpi.buckets import quantile_s
from tidegate.kpi.pane import PANE_MS
from tidegate.kpi.windows import Sum
from tidegate.wire.judgement import Kpi
from tidegate.wire.nodeseconds import Context

NONE = -1.0
"""What a quantile is without requests: a number, so that its column keeps one type."""


def kpi_of(service: str, cohort: str, end_ms: int, window_s: int, total: Sum, context: Context | None) -> Kpi:  # noqa: PLR0917
    """Return the KPIs of one complete window. Quantiles are in ms, within 4.33 %."""
    values = {f"gauge.{name}": value / rows for name, (value, rows) in sorted(total.gauges.items())}
    values |= {f"ratio.{name}": part / whole for name, (part, whole) in sorted(total.ratios.items()) if whole}
    values |= {f"counter.{name}": amount / window_s for name, amount in sorted(total.counters.items())}
    return Kpi(
        service=service,
        cohort=cohort,
        subject=context.subject if context is not None else f"svc/{service}",
        placement=context.placement if context is not None else "",
        version=total.version,
        window_s=window_s,
        start_ms=end_ms - window_s * PANE_MS,
        end_ms=end_ms,
        requests=total.requests,
        errors=total.errors,
        nodes=len(total.nodes),
        nodes_expected=-(-total.expected // total.panes) if total.panes else 0,
        coverage=total.reported / total.expected if total.expected else 0.0,
        rate=total.requests / window_s,
        error_ratio=total.errors / total.requests if total.requests else 0.0,
        p50_ms=_quantile_ms(total.counts, 0.50),
        p95_ms=_quantile_ms(total.counts, 0.95),
        p99_ms=_quantile_ms(total.counts, 0.99),
        late_rows=total.late_rows,
        transition_rows=total.transition_rows,
        values=values,
    )


def _quantile_ms(counts: list[int], share: float) -> float:
    seconds = quantile_s(counts, share)
    return NONE if seconds is None else round(seconds * 1000, 3)
