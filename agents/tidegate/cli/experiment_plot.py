"""The estimate of the primary metric and its interval over time, as plain SVG: light and dark, no script, no library."""

import math
import time
from collections.abc import Iterator, Sequence
from html import escape

from msgspec import Struct

from tidegate.cli.experiment_tell import because, proposal, span
from tidegate.model.experiments import Known, Look, looks_of
from tidegate.wire.experiments import MetricKind

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 84, 20, 92, 46
COLOURS = ("#1a7f37", "#8250df", "#bf8700", "#cf222e", "#0969da", "#bc4c00", "#57606a")
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.s{font-size:11px;fill:#57606a}.b{fill:#fff}.g{stroke:#d0d7de}"
    ".z{stroke:#57606a;stroke-dasharray:4 3}.n{fill:#57606a;opacity:.12}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#8d96a0}.b{fill:#0d1117}.g{stroke:#30363d}.z{stroke:#8d96a0}}"
)
TICKS = 5
MARGIN = 0.08


class Frame(Struct, frozen=True):
    """From time and difference to places in the picture."""

    begin_ms: int
    end_ms: int
    low: float
    high: float

    def x(self, at_ms: float) -> float:
        """Return where a time stands."""
        return LEFT + (WIDTH - LEFT - RIGHT) * (at_ms - self.begin_ms) / max(1, self.end_ms - self.begin_ms)

    def y(self, value: float) -> float:
        """Return where a difference stands."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.low) / (self.high - self.low)


def picture(one: Known) -> str:
    """Return the SVG of an experiment, from its first exposure to its last."""
    status, looks = one.status, looks_of(one)
    metric, kind = one.declared.primary.name, one.declared.primary.kind
    title = f"{metric}: difference from {one.declared.control}, with its interval at every look"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(one.declared.name)}: {escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="b" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text x="16" y="26" font-weight="600">{escape(one.declared.name)}: {escape(proposal(status))}</text>',
        f'<text class="s" x="16" y="45">{escape(because(status))}</text>',
        f'<text class="s" x="16" y="63">{escape(title)}; {status.users:,} users</text>',
    ]
    shown = [look for each in looks.values() for look in each]
    if not shown:
        parts.append(f'<text class="s" x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">too few users yet</text>')
        return "\n".join([*parts, "</svg>"]) + "\n"
    frame = _frame(shown, one.declared.no_difference or 0.0, status.first_ms, status.last_ms)
    parts += _axes(frame, kind, one.declared.no_difference)
    for number, (variant, each) in enumerate(looks.items()):
        parts += _treatment(frame, variant, each, number)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _frame(looks: Sequence[Look], negligible: float, begin_ms: int, end_ms: int) -> Frame:
    # The first intervals are wide: what came of them is what a person wants to see, so they may leave the picture.
    late = [look for look in looks if look.at_ms >= begin_ms + (end_ms - begin_ms) / 4] or list(looks)
    low = min(0.0, -negligible, *(look.low for look in late))
    high = max(0.0, negligible, *(look.high for look in late))
    room = MARGIN * (high - low) or 1.0
    return Frame(begin_ms, max(end_ms, begin_ms + 1), low - room, high + room)


def _axes(frame: Frame, kind: MetricKind, negligible: float | None) -> Iterator[str]:
    width, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    yield f'<clipPath id="c"><rect x="{LEFT}" y="{TOP}" width="{width}" height="{tall}"/></clipPath>'
    if negligible is not None:
        top, height = frame.y(negligible), frame.y(-negligible) - frame.y(negligible)
        yield f'<rect class="n" x="{LEFT}" width="{width}" y="{top:.1f}" height="{height:.1f}"/>'
    for value in _ticks(frame.low, frame.high):
        y = frame.y(value)
        text = f"{100 * value:+.3g} %" if kind is MetricKind.BINARY else f"{value:+.3g}"
        yield f'<line class="{"z" if value == 0.0 else "g"}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="s" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text if value else "0"}</text>'
    for at in range(TICKS):
        at_ms = frame.begin_ms + (frame.end_ms - frame.begin_ms) * at // (TICKS - 1)
        anchor = "start" if at == 0 else "end" if at == TICKS - 1 else "middle"
        text = time.strftime("%Y-%m-%d %H:%M", time.localtime(at_ms / 1000)) if at == 0 else f"+{span(at_ms - frame.begin_ms)}"
        yield f'<text class="s" x="{frame.x(at_ms):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="{anchor}">{text}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """Return five to ten round values from low to high, 0 among them."""
    rough = (high - low) / TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = max(unit * many for many in (1, 2, 5) if unit * many <= rough)
    return [step * at for at in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _treatment(frame: Frame, variant: str, looks: Sequence[Look], number: int) -> Iterator[str]:
    colour, x = COLOURS[number % len(COLOURS)], LEFT + 140 * number
    yield f'<circle cx="{x + 5}" cy="80" r="5" fill="{colour}"/><text x="{x + 16}" y="84">{escape(variant)}</text>'
    if not looks:
        return
    upper = " ".join(f"{frame.x(look.at_ms):.1f},{frame.y(look.high):.1f}" for look in looks)
    lower = " ".join(f"{frame.x(look.at_ms):.1f},{frame.y(look.low):.1f}" for look in reversed(looks))
    middle = " ".join(f"{frame.x(look.at_ms):.1f},{frame.y(look.difference):.1f}" for look in looks)
    yield f'<g clip-path="url(#c)"><polygon points="{upper} {lower}" fill="{colour}" opacity="0.18"/>'
    yield f'<polyline points="{middle}" fill="none" stroke="{colour}" stroke-width="2"/></g>'
    last = looks[-1]
    yield f'<circle cx="{frame.x(last.at_ms):.1f}" cy="{frame.y(last.difference):.1f}" r="3.5" fill="{colour}"/>'
