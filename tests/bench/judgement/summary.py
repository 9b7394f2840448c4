"""What all pieces together say: false rollbacks with their exact bound, delays, licences."""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from tests.bench.judgement.plan import CANARIES, WORLD
from tests.bench.judgement.play import DRIFT, HORIZON_S, MID_S, PIPELINE_S, RECORD_ROLLOUTS, RIVALS
from tests.bench.judgement.runner import Played

NAMES = (DRIFT, *RIVALS)
DEFINITIONS = {
    "drift": "the whole judge: limits and evidence together, as the fold calls it",
    "false_rollbacks": "healthy rollouts that a verdict asked to roll back; pauses: those that one asked to pause at least once",
    "upper95_per_hour": "exact one-sided 95 % bound of a Poisson rate",
    "delay": f"seconds from the start of the first faulty second to the verdict on its topic: end of the pane that decided, plus"
    f" {PIPELINE_S:g} s for grace and the way; missed: not within {HORIZON_S} s; rolled back before the onset: counted apart,"
    " and left out",
    "from": f"restart: faulty from its first second; mid: from {MID_S} s after the restart",
    "canaries": "as many matched controls, 20 nodes beside them; every episode has 30 min of history, and its service a record of"
    f" {RECORD_ROLLOUTS} rollouts of 20 nodes in the same world",
}


def upper95(events: int, hours: float) -> float | None:
    """Return the rate per hour at which so few events would have a probability of 5 %: the exact one-sided Poisson bound.

    >>> round(upper95(0, 1_000.0), 5), round(upper95(3, 1_000.0), 5)
    (0.003, 0.00775)
    """
    if hours <= 0:
        return None
    low, high = 0.0, 10.0 + 3.0 * events
    for _ in range(80):
        middle = (low + high) / 2
        below = sum(math.exp(-middle + n * math.log(middle) - math.lgamma(n + 1)) for n in range(events + 1))
        low, high = (middle, high) if below > 0.05 else (low, middle)
    return high / hours


def quantile(values: list[float], share: float) -> float | None:
    """Return the value of that rank; None where it was never reached."""
    if not values:
        return None
    value = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    return round(value, 1) if math.isfinite(value) else None


def summary(played: Played, seed: int) -> dict[str, Any]:
    """Return the figures."""
    here = [(piece, found) for piece, found in played if piece.world == WORLD]
    result: dict[str, Any] = {}
    for name in NAMES:
        result[name] = _healthy(here, name) | {"delays": _delays(here, name)}
    result["worlds"] = _worlds(played)
    result["licence"] = _licence(here)
    result["reasons"] = _reasons(played)
    result["seed"] = seed
    result["episodes"] = len(played)
    result["definitions"] = DEFINITIONS
    return result


def _healthy(played: Played, name: str) -> dict[str, Any]:
    found = [one["healthy"][name] for _, one in played if name in one["healthy"]]
    hours = sum(one["hours"] for one in found)
    false = sum(one["rollback_s"] is not None for one in found)
    bound = upper95(false, hours)
    return {
        "healthy_hours": round(hours, 2),
        "false_rollbacks": false,
        "upper95_per_hour": None if bound is None else round(bound, 5),
    }


def _delays(played: Played, name: str) -> list[dict[str, Any]]:
    cells: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for piece, found in played:
        for one in found["delays"]:
            cells[(one["fault"], one["size"], piece.canaries, one["from"])].append(one["seconds"][name])
    rows = []
    for (fault, size, canaries, since), values in sorted(cells.items()):
        counted = [math.inf if value is None else value for value in values if value != "before"]
        rows.append(
            {
                "fault": fault,
                "size": size,
                "canaries": canaries,
                "from": since,
                "median_s": quantile(counted, 0.5),
                "p95_s": quantile(counted, 0.95),
                "missed": sum(value == math.inf for value in counted),
                "n": len(counted),
                "before": len(values) - len(counted),
            }
        )
    return rows


def _worlds(played: Played) -> list[dict[str, Any]]:
    rows = []
    for world in dict.fromkeys(piece.world for piece, _ in played):
        for canaries in (*CANARIES, None):
            mine = [pair for pair in played if pair[0].world == world and canaries in {None, pair[0].canaries}]
            if mine:
                pauses = sum(found["healthy"][DRIFT]["pause_s"] is not None for _, found in mine)
                rivals = {name: _healthy(mine, name)["false_rollbacks"] for name in RIVALS}
                row = {"world": world, "canaries": canaries or "all", **_healthy(mine, DRIFT), "pauses": pauses}
                row["rivals"] = rivals
                rows.append(row | ({"delays": _delays(mine, DRIFT)} if world != WORLD and canaries else {}))
    return rows


def _licence(played: Played) -> list[dict[str, Any]]:
    rows = []
    for canaries in CANARIES:
        mine = [found for piece, found in played if piece.canaries == canaries]
        clean = [found["healthy"][DRIFT]["certified_s"] for found in mine]
        doubled = [found["doubled_certified"] for found in mine if found["doubled_certified"] is not None]
        times = [math.inf if value is None else value for value in clean]
        rows.append(
            {
                "canaries": canaries,
                "clean_median_s": quantile(times, 0.5),
                "clean_p95_s": quantile(times, 0.95),
                "clean_never": sum(value is None for value in clean),
                "clean_n": len(clean),
                "errors_doubled_certified": sum(doubled),
                "errors_doubled_n": len(doubled),
            }
        )
    return rows


def _reasons(played: Played) -> list[dict[str, Any]]:
    """Return every false rollback with what it said: to be played again by ``tidegate sim``."""
    return [
        {"world": piece.world, "canaries": piece.canaries, "seed": piece.seed}
        | {field: found["healthy"][DRIFT][field] for field in ("rollback_s", "reason", "sentence")}
        for piece, found in played
        if found["healthy"][DRIFT]["rollback_s"] is not None
    ]


def text(result: dict[str, Any]) -> Iterable[str]:
    """Yield the figures as tables of plain text."""
    yield f"{'':16}{'hours':>8}{'false rollbacks':>17}{'95 % bound per hour':>21}"
    for name in NAMES:
        one = result[name]
        yield f"{name:16}{one['healthy_hours']:8.1f}{one['false_rollbacks']:17}{_percent(one['upper95_per_hour']):>21}"
    yield ""
    yield "delay, median/p95 in s (missed of n), ! = rolled back before the onset, left out"
    yield f"{'':34}" + "".join(f"{name:>24}" for name in NAMES)
    for rows in zip(*(result[name]["delays"] for name in NAMES), strict=True):
        row = rows[0]
        cell = f"{row['fault']} {row['size']:g}, {row['canaries']} canaries, {row['from']}"
        yield f"{cell:34}" + "".join(f"{_delay(one):>24}" for one in rows)
    yield ""
    yield f"{'world':12}{'canaries':>9}{'hours':>8}{'false':>7}{'pauses':>8}{'95 % bound':>12}"
    for row in result["worlds"]:
        yield (
            f"{row['world']:12}{row['canaries']!s:>9}{row['healthy_hours']:8.1f}{row['false_rollbacks']:7}{row['pauses']:8}"
            f"{_percent(row['upper95_per_hour']):>12}"
        )
    yield ""
    yield "licence: clean certified after median/p95 s (never of n); errors doubled, certified of n"
    for row in result["licence"]:
        yield (
            f"  {row['canaries']:2} canaries: {_or(row['clean_median_s'])}/{_or(row['clean_p95_s'])}"
            f" ({row['clean_never']} of {row['clean_n']}); {row['errors_doubled_certified']} of {row['errors_doubled_n']}"
        )
    for row in result["reasons"]:
        what = f"{row['world']}, {row['canaries']} canaries, seed {row['seed']}, after {row['rollback_s']:.0f} s"
        yield f"false: {what}: {row['sentence']}"


def _delay(one: dict[str, Any]) -> str:
    left_out = f" !{one['before']}" if one["before"] else ""
    return f"{_or(one['median_s'])}/{_or(one['p95_s'])} ({one['missed']} of {one['n']}){left_out}"


def _or(value: float | None) -> str:
    return ">" if value is None else f"{value:.0f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"
