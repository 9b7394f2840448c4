"""What the demo prints while it runs: headings, decisions as they fall, legs, and the last table."""

import time
from collections import Counter

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tidegate.demo.report import LEG_NAMES, DemoReport, FlagResult, ReleaseResult, maxima
from tidegate.wire.decisions import Decision, DecisionKind

COLOURS = {
    DecisionKind.ROLLBACK: "bold red",
    DecisionKind.REFUSE: "bold red",
    DecisionKind.PAUSE: "yellow",
    DecisionKind.PROMOTE: "green",
    DecisionKind.COMPLETE: "bold green",
    DecisionKind.RETURNED: "bold green",
}


class Narrator:
    """Writes to a console; with ``quiet`` it says nothing until the report."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def heading(self, text: str) -> None:
        """Begin a chapter."""
        self._console.print(f"\n[bold]{text}[/bold]")

    def note(self, text: str) -> None:
        """Say one thing."""
        self._console.print(f"  [dim]{self._elapsed()}[/dim]  {text}", highlight=False)

    def decision(self, decision: Decision) -> None:
        """Say what was decided, and why."""
        style = COLOURS.get(decision.kind, "")
        kind = f"[{style}]{decision.kind:<9}[/{style}]" if style else f"{decision.kind:<9}"
        text = escape(decision.message or decision.reason.replace("_", " "))
        self._console.print(f"  [dim]{self._elapsed()}[/dim]  {kind} {text}", highlight=False, soft_wrap=True)

    def result(self, result: ReleaseResult, failures: Counter[str]) -> None:
        """Say how a release ended and what each leg took."""
        self._ended(result.version, result, failures)

    def flag(self, result: FlagResult, failures: Counter[str]) -> None:
        """Say how a ramp ended, what each leg took, and who saw it."""
        self._ended(result.flag, result, failures)
        self.note(f"{result.shown} of {result.answers} requests saw the new variant while it was on, {100 * result.share:.1f} %")

    def _ended(self, name: str, result: ReleaseResult | FlagResult, failures: Counter[str]) -> None:
        legs = [f"{leg} {value:.1f} s" for field, leg in LEG_NAMES.items() if (value := getattr(result.legs, field)) is not None]
        verb = "[bold green]as it should[/bold green]" if result.as_expected else "[bold red]NOT as it should[/bold red]"
        self.note(f"{name} was {result.outcome.replace('_', ' ')}, {verb}, in {result.seconds:.0f} s")
        if legs:
            self.note("after the first bad response: " + ", ".join(legs))
        self.note(f"{result.requests.sent} requests, {result.requests.failed} without an answer")
        for failure, count in failures.most_common(3):
            self.note(f"[red]{count} x {failure}[/red]")

    def report(self, report: DemoReport) -> None:
        """Print the closing table."""
        self._console.print("\n[bold]what happened, in seconds after the first bad response that a client saw[/bold]")
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in ("change", "fault", "outcome", *LEG_NAMES.values(), "requests", "lost"):
            table.add_column(column, justify="left" if column in ("change", "fault", "outcome") else "right")
        everything: list[tuple[str, ReleaseResult | FlagResult]] = [(one.version, one) for one in report.releases]
        everything += [(one.flag, one) for one in report.flags]
        for name, result in everything:
            legs = [getattr(result.legs, field) for field in LEG_NAMES]
            table.add_row(
                name,
                result.fault,
                f"[{'green' if result.as_expected else 'red'}]{result.outcome}[/]",
                *("" if leg is None else f"{leg:.1f}" for leg in legs),
                str(result.requests.sent),
                str(result.requests.failed),
            )
        self._console.print(table)
        for fault in ("errors", "slow", "variant"):
            alike = [result for _, result in everything if result.fault == fault]
            if len(alike) > 1:
                legs_text = ", ".join(f"{LEG_NAMES[field]} {value:.1f}" for field, value in maxima(alike, fault).items())
                what = "ramps" if fault == "variant" else f"releases with {fault}"
                self._console.print(f"slowest of {len(alike)} {what}: {legs_text}", highlight=False)
        count = report.telemetry
        self._console.print(
            f"telemetry: {count.sent} node-seconds sent = {count.accepted} accepted + {count.deadlettered} dead-lettered "
            f"+ {count.dropped} dropped{'' if count.balanced else '  [bold red]does not add up[/bold red]'}",
            highlight=False,
        )
        self._console.print(f"broker: {report.broker}; {report.seconds:.0f} s in all", highlight=False)

    def _elapsed(self) -> str:
        seconds = time.monotonic() - self._began
        return f"{int(seconds // 60):02}:{seconds % 60:04.1f}"
