"""What the demo says at the end, as JSON for machines and as lines for people."""

from collections.abc import Iterable

from msgspec import Struct


class Legs(Struct, frozen=True):
    """Seconds from the first bad response that a client saw; None where there was none."""

    first_bad_to_verdict_s: float | None = None
    first_bad_to_command_s: float | None = None
    first_bad_to_all_back_s: float | None = None
    first_bad_to_recovered_s: float | None = None


class Requests(Struct, frozen=True):
    """Requests of the load generator during one release; ``failed``: no response came."""

    sent: int
    failed: int


class ReleaseResult(Struct, frozen=True):
    """How one release went."""

    version: str
    fault: str
    expected: str
    outcome: str
    seconds: float
    legs: Legs
    requests: Requests

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it should, and the swapping lost nothing."""
        return self.outcome == self.expected and self.requests.failed == 0


class FlagResult(Struct, frozen=True):
    """How one ramp of a flag went. ``shown`` of the ``answers`` that came while it was on had the new variant; in ``legs`` all
    are back when the last server gives everyone the safe one.
    """

    flag: str
    fault: str
    expected: str
    outcome: str
    seconds: float
    legs: Legs
    requests: Requests
    answers: int
    shown: int

    @property
    def share(self) -> float:
        """Share of the answers that had the new variant."""
        return self.shown / self.answers if self.answers else 0.0

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it should, and no request was lost."""
        return self.outcome == self.expected and self.requests.failed == 0


class TelemetryCount(Struct, frozen=True):
    """Node-seconds: what senders made, and what became of it."""

    sent: int
    accepted: int
    deadlettered: int
    dropped: int

    @property
    def balanced(self) -> bool:
        """Whether every row is accounted for."""
        return self.sent == self.accepted + self.deadlettered + self.dropped


class DemoReport(Struct, frozen=True):
    """The whole of ``build/demo.json``."""

    broker: str
    telemetry: TelemetryCount
    releases: tuple[ReleaseResult, ...]
    flags: tuple[FlagResult, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether everything ended as it should."""
        ended = [one.as_expected for one in self.releases] + [one.as_expected for one in self.flags]
        return self.telemetry.balanced and all(ended)


LEG_NAMES = {
    "first_bad_to_verdict_s": "verdict",
    "first_bad_to_command_s": "command",
    "first_bad_to_all_back_s": "all nodes back",
    "first_bad_to_recovered_s": "KPIs in band",
}


def maxima(results: Iterable[ReleaseResult | FlagResult], fault: str) -> dict[str, float]:
    """Return the slowest of each leg among the releases, or ramps, with a fault."""
    slowest: dict[str, float] = {}
    for result in results:
        if result.fault == fault:
            for name in LEG_NAMES:
                value = getattr(result.legs, name)
                if value is not None:
                    slowest[name] = max(slowest.get(name, 0.0), value)
    return slowest
