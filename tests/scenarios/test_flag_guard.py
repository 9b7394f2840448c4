"""A guarded flag from its file to the last server: the guard switches a bad variant off, a healthy one is promoted, a kill wins.

On real Kafka, with every role and four real servers that evaluate the flag for each request, and 200 requests a second in all.
Times of the guard are from the first bad response that a client saw, by the clock of this machine; whether a server still has the
variant is told by what it answers. ``--rounds 10`` switches off ten times.
"""

from collections import Counter
from pathlib import Path

import pytest

from tidegate.demo.checkout import FLAG, Sightings, write_flag
from tidegate.demo.load import Answer
from tidegate.demo.shop import CLASSIC, EXPRESS, EXPRESS_MENDED
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase
from tidegate.wire.flagstates import FlagState, RampResult

pytestmark = [pytest.mark.kafka, pytest.mark.scenario, pytest.mark.asyncio(loop_scope="module")]

FLAGGED = True
WITHIN_S = 60
MOST_S = 15.0
"""The target is 5 s, on a machine that does nothing else; on one with ten times as much to do as it has cores 7.7 s were seen."""
SHARE = 50
"""Percent that have the bad variant: a tenth of 200 requests/s would be one error a second, which takes longer to be sure of
(``tests/detect/test_variants.py``).
"""


class Ramp:
    """One ramp of the flag, as the log and clients tell of it."""

    def __init__(self, system, checkout: str) -> None:
        self._system = system
        self._since = len(system.decisions)
        self.seen = Sightings(len(system.nodes), checkout)
        self.answered: Counter[str] = Counter()
        self.failed = system.load.failed
        system.load.heard = self._hear

    def _hear(self, answer: Answer) -> None:
        self.seen.heard(answer)
        self.answered[answer.checkout] += 1

    @property
    def records(self) -> list[tuple[int, DecisionKind, FlagState]]:
        """The records about the flag since this began."""
        return [(at_ms, one.kind, one.flag) for at_ms, one in self._system.decisions[self._since :] if one.flag is not None]

    @property
    def kinds(self) -> list[DecisionKind]:
        return [kind for _, kind, _ in self.records]

    @property
    def state(self) -> FlagState:
        return self.records[-1][2]

    @property
    def ended(self) -> bool:
        return bool(self.records) and self.state.phase is Phase.DONE

    @property
    def lost(self) -> int:
        return self._system.load.failed - self.failed

    def since_bad_s(self, at_ms: float) -> float:
        return at_ms / 1000 - self.seen.first_bad_s


async def ramp(system, name: str, checkout: str, stages: list[tuple[int, int, int]]) -> Ramp:
    """Set the flag; ``stages``: weight in percent, bake in seconds, exposures."""
    found = Ramp(system, checkout)
    told = tuple({"setWeight": weight, "bake": f"{bake_s}s", "minExposures": least} for weight, bake_s, least in stages)
    path: Path = write_flag(system.folder / "flags", name, told, checkout)
    await system.command("flag", "set", FLAG, "-f", str(path), "--reason", name)
    return found


async def test_a_variant_that_answers_5_percent_errors_is_switched_off_within_seconds_on_every_server(system, rounds, say):
    off_s, shares = [], []
    for number in range(rounds):
        bad = await ramp(system, f"bad-{number}", EXPRESS, [(SHARE, 60, 1_000), (100, 60, 1_000)])
        await system.until(lambda bad=bad: bad.ended and bad.seen.off_s is not None, WITHIN_S, "the bad variant off")
        assert bad.kinds[:2] == [DecisionKind.ACCEPT, DecisionKind.START]
        assert bad.kinds[-1] is DecisionKind.ROLLBACK
        assert (bad.state.result, bad.lost) == (RampResult.SWITCHED_OFF, 0)
        off_s.append(bad.since_bad_s(1000 * bad.seen.off_s))
        shares.append(bad.seen.shown / bad.seen.answers)
        verdict_ms, command_ms = system.watch.verdict_ms(bad.state.rollout), system.watch.safe_ms(FLAG, bad.state.decided_ms)
        say(
            f"round {number + 1}, after the first bad response: verdict {bad.since_bad_s(verdict_ms):.1f} s, published "
            f"{bad.since_bad_s(command_ms):.1f} s, off on all servers {off_s[-1]:.1f} s; seen by {bad.seen.shown} of "
            f"{bad.seen.answers} requests"
        )
    say(f"off after {', '.join(f'{one:.1f}' for one in sorted(off_s))} s; seen by {100 * max(shares):.0f} % at most")
    assert max(off_s) <= MOST_S


@pytest.mark.thorough
async def test_a_healthy_flag_goes_through_its_stages_to_everyone(system, say):
    good = await ramp(system, "good", EXPRESS_MENDED, [(10, 2, 40), (50, 2, 100), (100, 2, 200)])
    await system.until(lambda: good.ended, WITHIN_S, "the end of a healthy ramp")
    good.answered.clear()
    await system.until(lambda: good.answered[EXPRESS_MENDED] >= 200, WITHIN_S, "the new variant for everyone")

    assert good.kinds == [
        DecisionKind.ACCEPT,
        DecisionKind.START,
        DecisionKind.PROMOTE,
        DecisionKind.PROMOTE,
        DecisionKind.COMPLETE,
    ]
    assert (good.state.result, good.lost) == (RampResult.PROMOTED, 0)
    begun_ms, ended_ms = good.records[1][0], good.records[-1][0]
    say(f"three stages that bake for 2 s each in {(ended_ms - begun_ms) / 1000:.1f} s")


async def test_a_kill_in_the_middle_of_a_ramp_gives_everyone_the_kill_variant(system, say):
    live = await ramp(system, "live", "express-3", [(50, 60, 1_000), (100, 60, 1_000)])
    await system.until(lambda: live.seen.shown >= 200, WITHIN_S, "the new variant in use")
    await system.command("flag", "kill", FLAG, "--reason", "in the middle")
    await system.until(lambda: live.seen.off_s is not None, WITHIN_S, "the killed variant off")
    live.answered.clear()
    await system.until(lambda: live.answered.total() >= 200, WITHIN_S, "requests after the kill")

    killed_ms = next(at_ms for at_ms, _, state in live.records if state.killed)
    say(f"killed variant off on all servers {live.seen.off_s - killed_ms / 1000:.2f} s after the decision")
    assert set(live.answered) == {CLASSIC}
    assert live.lost == 0
    assert live.seen.off_s - killed_ms / 1000 <= 5
