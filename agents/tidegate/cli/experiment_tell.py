"""Experiments in words: what is proposed and why, and the numbers beside it."""

import time
from typing import assert_never

from tidegate.cli.output import table
from tidegate.cli.tell import age
from tidegate.detect.experiments import Proposed, Why
from tidegate.model.experiments import ENDED, MetricRow, Status
from tidegate.wire.experiments import MetricKind
from tidegate.wire.topics import DAY_MS


def proposal(one: Status) -> str:
    """Return what is proposed in a few words."""
    match one.outcome:
        case Proposed.KEEP_RUNNING:
            return "keep running"
        case Proposed.SHIP:
            return f"ship {one.proposed_variant}"
        case Proposed.STOP_NO_DIFFERENCE:
            return "stop: no difference"
        case Proposed.INVALID:
            return "invalid"
        case _:
            assert_never(one.outcome)


def because(one: Status) -> str:
    """Return why, as one sentence with the numbers that it rests on."""
    primary = one.metrics[0].metric if one.metrics else ""
    match one.reason:
        case Why.TOO_SHORT:
            return f"It was declared to run for {span(one.min_run_ms)}; so far it has for {span(one.last_ms - one.first_ms)}."
        case Why.TOO_FEW:
            return f"Too few users, or too few of them with {primary}, to say anything yet."
        case Why.UNDECIDED:
            return f"The interval of {primary} does not leave out that there is no difference."
        case Why.GUARD_WORSE:
            worse = sorted({row.metric for row in one.metrics if row.standing == "worse" and row.variant == one.proposed_variant})
            return f"{one.proposed_variant} is better in {primary}, and worse in {', '.join(worse)}."
        case Why.BETTER:
            return f"{one.proposed_variant} is better than {one.control} in {primary}; in no other metric is it surely worse."
        case Why.CONTROL_BETTER:
            return f"Every other variant is worse than {one.control} in {primary}."
        case Why.NEGLIGIBLE:
            return f"Whatever difference there is in {primary} is smaller than what was declared to matter."
        case Why.MISMATCH:
            return "Users are not in the declared shares: who is missing is not known, so no number below means anything."
        case Why.DOUBLE_EXPOSURES:
            return "Too many users saw two variants: who was left out is not known, so no number below means anything."
        case _:
            assert_never(one.reason)


def span(ms: int) -> str:
    """Return a length of time: in days where it is two or more.

    >>> span(7_200_000), span(604_800_000)
    ('2.0 h', '7.0 d')
    """
    return age(ms) if ms < 2 * DAY_MS else f"{ms / DAY_MS:.1f} d"


def lines(one: Status) -> list[str]:
    """Return one experiment in lines of plain text."""
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.first_ms / 1000)) if one.first_ms else "nobody yet"
    found = [f"{one.experiment}: {proposal(one)}   flag {one.flag}, {one.state}   run {one.run}   since {since}"]
    found.append(f"  {because(one)}")
    if one.state == ENDED:
        found.append("  no flag declares it any more: these are its last numbers")
    if one.refused:
        found.append("  there is no room for more users: nobody new is counted (alarm experiment_full)")
    if one.doubles:
        found.append(f"  {one.doubles} users saw two variants and are left out ({one.double_share:.2%})")
    speaks = f"{one.mismatch_log_e:.1f} of {one.mismatch_threshold:.1f} nats against the declared shares"
    return [
        *found,
        "",
        *_indented(table(_variants(one))),
        f"  {speaks}",
        "",
        *_indented(table([_metric(row) for row in one.metrics])),
    ]


def _variants(one: Status) -> list[dict[str, object]]:
    return [
        {
            "variant": f"{row.variant} (control)" if row.variant == one.control else row.variant,
            "users": row.users,
            "share": f"{row.share:.2%}",
            "declared": f"{row.declared:.2%}",
            "saw_two": row.doubles,
        }
        for row in one.variants
    ]


def _metric(row: MetricRow) -> dict[str, object]:
    interval = "-" if row.low is None or row.high is None else f"{amount(row, row.low)} to {amount(row, row.high)}"
    return {
        "metric": row.metric,
        "variant": row.variant,
        "control": amount(row, row.control_mean),
        "mean": amount(row, row.mean),
        "difference": amount(row, row.difference),
        f"{1.0 - row.alpha:.4g}".replace("0.", "at 0."): interval,
        "relative": "-" if row.relative is None else f"{row.relative:+.1%}",
        "p": "-" if row.p_value is None else f"{row.p_value:.2g}",
        "stands": row.standing.replace("_", " "),
    }


def amount(row: MetricRow, value: float | None) -> str:
    """Return a number in the metric's own unit: a share of users for a binary one."""
    if value is None:
        return "-"
    return f"{value:.2%}" if row.kind is MetricKind.BINARY else f"{value:.5g}"


def _indented(rows: list[str]) -> list[str]:
    return [f"  {row}" for row in rows]
