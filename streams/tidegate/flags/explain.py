"""Why a user gets what it gets: the same evaluation, each operation told with its path and what it came to."""

import json
from typing import Any

from msgspec import Struct

from tidegate.flags.bucketing import Draw
from tidegate.flags.evaluate import Asked, Resolution, evaluate, resolve
from tidegate.flags.rules import Closure, compiled
from tidegate.flags.store import FlagSet
from tidegate.flags.work import Run
from tidegate.wire.flags import EVALUATORS, definition_of, evaluators_of

STEPS_MAX = 1_000
TEXT_MAX = 160


class Step(Struct, frozen=True):
    """One operation that was evaluated, after those inside it. What was not needed is not there.

    >>> Step("targeting.if[0].in", '{"in": [{"var": "country"}, ["de"]]}', "false")
    Step(path='targeting.if[0].in', operation='{"in": [{"var": "country"}, ["de"]]}', value='false', note='')
    """

    path: str
    operation: str
    value: str
    note: str = ""
    """Of a share: bucket, of how many."""


class Explanation(Struct, frozen=True):
    """What ``evaluate`` returns, and how it came about. At most 1,000 steps; ``more``: so many were not kept."""

    resolution: Resolution
    steps: tuple[Step, ...] = ()
    more: int = 0


class _Trace:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.count = 0
        self.draws: list[Draw] = []

    def watch(self, path: str, node: dict[str, Any], closure: Closure) -> Closure:
        text = _short(json.dumps(node, ensure_ascii=False))

        def watched(data: Any, run: Run) -> Any:
            drawn = len(self.draws)
            try:
                value = closure(data, run)
            except Exception as error:
                self.add(Step(path, text, f"failed: {type(error).__name__}"))
                raise
            note = ""
            if len(self.draws) > drawn and "fractional" in node:
                note = f"bucket {self.draws[-1].bucket} of {self.draws[-1].total}"
            self.add(Step(path, text, shown(value), note))
            return value

        return watched

    def add(self, step: Step) -> None:
        self.count += 1
        if self.count <= STEPS_MAX:
            self.steps.append(step)


def explain(flags: FlagSet, key: str, asked: Asked) -> Explanation:
    """Return what a user gets, with every operation that led there. The resolution is that of ``evaluate``. Never raises."""
    flag = flags.flags.get(key)
    if flag is None:
        return Explanation(evaluate(flags, key, asked))
    trace = _Trace()
    targeting = definition_of(flag.value).targeting
    rule = compiled(targeting, "targeting", trace.watch) if targeting else None
    shared = {
        name: compiled(body, f"{EVALUATORS}.{name}", trace.watch) for name, body in evaluators_of(flags.evaluators_value).items()
    }
    resolution = resolve(flags, flag, rule, asked, Run(shared, flags.bucketing, trace.draws))
    return Explanation(resolution, tuple(trace.steps), max(0, trace.count - STEPS_MAX))


def shown(value: Any) -> str:
    """Return a value in a few words, whatever it is.

    >>> shown("nl"), shown(None), shown([1, 2])
    ('"nl"', 'null', 'a list of 2')
    """
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    if value is None or isinstance(value, str | bool | float):
        return _short(json.dumps(value, ensure_ascii=False))
    if isinstance(value, int) and value.bit_length() < 256:
        return str(value)
    return type(value).__name__


def _short(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}..."
