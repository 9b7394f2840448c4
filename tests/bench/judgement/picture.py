"""The figures as one picture, plain SVG: when each method rolls back, and how often without a cause."""

import math
from html import escape
from typing import Any

from tests.bench.judgement.summary import NAMES

CANARIES = 5
COLOURS = {"drift": "#1a7f37", "argo_style": "#8250df", "kayenta_style": "#bf8700", "iid_sequential": "#cf222e"}
LABELS = {
    "drift": "Tidegate",
    "argo_style": "Argo-style limit",
    "kayenta_style": "Kayenta-style test",
    "iid_sequential": "iid sequential",
}
LEFT, WIDTH, TOP, ROW, BAND = 190, 520, 96, 12, 66
TICKS_S = (1, 3, 10, 30, 60, 180, 600, 1_800)
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.s{font-size:11px;fill:#57606a}.b{fill:#fff}.g{stroke:#d0d7de}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#8d96a0}.b{fill:#0d1117}.g{stroke:#30363d}}"
)


def x_of(seconds: float) -> float:
    """Return where a time stands, on a logarithmic axis from 1 s to the horizon."""
    return LEFT + WIDTH * math.log(max(1.0, seconds)) / math.log(TICKS_S[-1])


def picture(result: dict[str, Any]) -> str:
    """Return the SVG of delays with 5 canaries: a line from the median to the 95th percentile, an arrow where it was missed."""
    cells = [(row["fault"], row["size"], row["from"]) for row in result[NAMES[0]]["delays"] if row["canaries"] == CANARIES]
    height = TOP + BAND * len(cells) + 54
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 40} {height}" role="img">',
        f"<title>Seconds to rollback with {CANARIES} canaries, and false rollbacks in healthy hours</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="b" width="100%" height="{height}"/>',
        f'<text x="16" y="24" font-weight="600">Seconds from the first bad second to rollback, {CANARIES} canaries</text>',
    ]
    parts += _legend(result)
    bottom = TOP + BAND * len(cells)
    for tick in TICKS_S:
        parts.append(f'<line class="g" x1="{x_of(tick):.1f}" x2="{x_of(tick):.1f}" y1="{TOP - 8}" y2="{bottom}"/>')
        parts.append(f'<text class="s" x="{x_of(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick} s</text>')
    for number, cell in enumerate(cells):
        parts += _cell(result, cell, TOP + BAND * number)
    note = "dot: median, end of line: 95th percentile, arrow: not within 30 min"
    parts.append(f'<text class="s" x="{LEFT}" y="{bottom + 38}">{note}</text></svg>')
    return "\n".join(parts) + "\n"


def _legend(result: dict[str, Any]) -> list[str]:
    parts = []
    for number, name in enumerate(NAMES):
        one, x = result[name], 16 + 186 * number
        parts.append(f'<circle cx="{x + 5}" cy="46" r="5" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{x + 16}" y="50">{escape(LABELS[name])}</text>')
        words = f"{one['false_rollbacks']} false in {one['healthy_hours']:.0f} h"
        parts.append(f'<text class="s" x="{x + 16}" y="66">{words}</text>')
    return parts


def _cell(result: dict[str, Any], cell: tuple[str, float, str], y: float) -> list[str]:
    fault, size, since = cell
    what = f"errors to {100 * size:g} %" if fault == "errors" else f"{fault} +{100 * size:g} %"
    when = "from the restart" if since == "restart" else "in mid-run"
    parts = [f'<text x="16" y="{y + 20}">{escape(what)}</text>', f'<text class="s" x="16" y="{y + 36}">{when}</text>']
    for number, name in enumerate(NAMES):
        row = next(
            row
            for row in result[name]["delays"]
            if (row["fault"], row["size"], row["from"], row["canaries"]) == (*cell, CANARIES)
        )
        if not row["n"]:
            continue
        at, colour = y + 8 + ROW * number, COLOURS[name]
        begin = x_of(row["median_s"] or TICKS_S[-1])
        end = x_of(row["p95_s"] or TICKS_S[-1])
        parts.append(f'<line x1="{begin:.1f}" x2="{end:.1f}" y1="{at}" y2="{at}" stroke="{colour}" stroke-width="3"/>')
        if row["p95_s"] is None:
            parts.append(f'<path d="M{end:.1f} {at - 5}l9 5l-9 5z" fill="{colour}"/>')
        if row["median_s"] is not None:
            parts.append(f'<circle cx="{begin:.1f}" cy="{at}" r="4.5" fill="{colour}"/>')
    return parts
