"""People who see variants and do things, and what that adds up to when one simply counts."""

import hashlib
from collections.abc import Iterable, Sequence

from tidegate.experiments import ExperimentState, step, sums
from tidegate.wire.experiments import Sums, Trial, trial_text
from tidegate.wire.exposures import Exposure, Outcome

TRIAL = Trial(name="checkout", run="0000000a", shares={"off": 50, "on": 50}, metrics=("bought", "paid"))
BEGIN_MS = 1_700_000_000_000

Event = Exposure | Outcome


def user(number: int) -> str:
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


def saw(number: int, variant: str, *, trial: Trial | None = TRIAL, generation: int = 4, flag: str = "fast") -> Exposure:
    return Exposure(
        set_id="web",
        flag=flag,
        variant=variant,
        reason="TARGETING_MATCH",
        generation=generation,
        user=user(number),
        at_ms=BEGIN_MS,
        node="n1",
        service="shop",
        experiment="" if trial is None else trial_text(trial),
    )


def did(number: int, metric: str, value: float = 1.0, *, at_ms: int = BEGIN_MS, set_id: str = "web") -> Outcome:
    return Outcome(metric=metric, set_id=set_id, user=user(number), value=value, at_ms=at_ms)


def folded(events: Iterable[Event], state: ExperimentState | None = None, *, every_ms: int = 1_000) -> ExperimentState:
    """The state after events that were appended a second apart."""
    state = state or ExperimentState(3)
    begin_ms = state.now_ms or BEGIN_MS
    for number, event in enumerate(events, 1):
        step(state, event, begin_ms + number * every_ms)
    return state


def told(state: ExperimentState, name: str = "checkout") -> Sums:
    return sums(state, name, 0)


def counted(events: Sequence[Event]) -> dict[str, object]:
    """Users, those who saw two variants, and per metric (users, total, squares), of each variant, counted the slow way."""
    first: dict[str, str] = {}
    double: set[str] = set()
    values: dict[tuple[str, str], float] = {}
    known: set[Outcome] = set()
    begun = False
    for event in events:
        if isinstance(event, Exposure):
            begun = True
            if event.variant in TRIAL.shares and first.setdefault(event.user, event.variant) != event.variant:
                double.add(event.user)
        elif begun and event.metric in TRIAL.metrics and event not in known:
            known.add(event)
            if event.user in first:
                key = (event.user, event.metric)
                values[key] = values.get(key, 0.0) + event.value
    found = {}
    for variant in TRIAL.shares:
        users = {one for one, seen in first.items() if seen == variant}
        totals = {name: [values[one, name] for one in sorted(users - double) if (one, name) in values] for name in TRIAL.metrics}
        metrics = [(len(done), sum(done), sum(one * one for one in done)) for done in totals.values()]
        found[variant] = (len(users - double), len(users & double), metrics)
    return found


def plainly(record: Sums) -> dict[str, object]:
    """A record in the words of ``counted``."""
    return {
        variant: (arm.users, arm.doubles, [(one.users, one.total, one.squares) for one in arm.metrics])
        for variant, arm in record.arms.items()
    }
