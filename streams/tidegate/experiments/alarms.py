"""Alarms of experiments as edges (I1): a function of the sums of all partitions, of what fires already, and of now."""

import math
from collections.abc import Iterator

from msgspec.structs import replace

from tidegate.alarms.trials import DOUBLES, FULL, MISMATCH, WRITER
from tidegate.detect.experiments import MISMATCH_ALPHA, doubled, mismatch
from tidegate.experiments.pooled import Counted, Pooled
from tidegate.wire.codec import Malformed, decode
from tidegate.wire.experiments import sums_of
from tidegate.wire.judgement import Alarm, AlarmKind, AlarmState, fired_again

IDLE_MS = 3_600_000
"""So long after the last exposure nothing of an experiment is true any more."""
NATS = math.log(1.0 / MISMATCH_ALPHA)


class Alarms:
    """What stands on ``experiments`` and on ``alarms``, read in any order and any number of times."""

    def __init__(self) -> None:
        self._counted = Counted()
        self._known: dict[str, Alarm] = {}

    def read(self, topic: str, value: bytes | None) -> None:
        """Take one record of either topic; what cannot be read, or is another's, is passed over."""
        if value is None:
            return
        try:
            if topic == "experiments":
                self._counted.see(sums_of(value))
            elif (alarm := decode(value, Alarm)).writer == WRITER:
                self._known[alarm.id] = alarm
        except Malformed:
            return

    def edges(self, now_ms: int) -> list[Alarm]:
        """Return what begins and what ends, in the order of ids; they count as told from then on."""
        found = {alarm.id: alarm for one in self._counted.pooled().values() for alarm in self._true(one, now_ms)}
        edges = []
        for name in sorted(found.keys() | self._known.keys()):
            before, now = self._known.get(name), found.get(name)
            fires = before is not None and before.state is AlarmState.FIRING
            if now is not None and not fires:
                edges.append(fired_again(now, before))
            elif before is not None and fires and (now is None or now.labels != before.labels):
                edges.append(replace(before, state=AlarmState.RESOLVED, end_ms=now_ms))
        self._known |= {alarm.id: alarm for alarm in edges}
        return edges

    def _true(self, one: Pooled, now_ms: int) -> Iterator[Alarm]:
        if now_ms - one.last_ms > IDLE_MS:
            return
        told = ", ".join(f"{variant} {users}" for variant, users in one.dealt.items())
        shares = ", ".join(f"{variant} {weight}" for variant, weight in one.trial.shares.items())
        if mismatch(one.dealt, one.trial.shares) >= self._enough(one, MISMATCH):
            yield _firing(one, MISMATCH, now_ms, f"Users: {told}; declared shares: {shares}.")
        seen = one.users + one.doubles
        if doubled(one.doubles, seen) >= self._enough(one, DOUBLES):
            yield _firing(one, DOUBLES, now_ms, f"{one.doubles} of {seen} users saw two variants.")
        if one.full:
            yield _firing(one, FULL, now_ms, f"No room for new users in {len(one.full)} partitions; {seen} are in.")

    def _enough(self, one: Pooled, kind: AlarmKind) -> float:
        """Return the nats that are needed: what fires goes on until nothing speaks for it any more."""
        before = self._known.get(f"{kind.name}/{one.trial.name}")
        fires = before is not None and before.state is AlarmState.FIRING and before.labels.get("run") == one.trial.run
        return math.ulp(0.0) if fires else NATS


def _firing(one: Pooled, kind: AlarmKind, now_ms: int, summary: str) -> Alarm:
    labels = {"experiment": one.trial.name, "run": one.trial.run}
    return kind.firing(one.trial.name, now_ms, summary, subject=one.subject, labels=labels)


__all__ = ["Alarms"]
