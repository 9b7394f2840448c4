"""``tidegate sim``: one rollout of a simulated fleet, judged by the real judge in this process."""

import click
import numpy as np
from msgspec import Struct

from tidegate.cli.output import Format, dump, format_option
from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge, learn
from tidegate.sim import WORLDS, Episode, Fault, FaultKind, Past, Run
from tidegate.wire.judgement import Evidence, Outcome, Verdict
from tidegate.wire.plans import Action

ROLLED_BACK = 3


class Change(Struct, frozen=True, kw_only=True):
    """A verdict that differs from the one before. ``second``: end of its pane, from the restart of the canaries."""

    second: float
    outcome: str
    reason: str
    action: str
    sentence: str
    evidence: tuple[Evidence, ...] = ()


class Told(Struct, frozen=True, kw_only=True):
    """What came of an episode. Times are seconds from the restart of the canaries; None: it did not happen."""

    world: str
    canaries: int
    seed: int
    hours: float
    fault: str
    onset_s: float | None
    rolled_back_s: float | None
    paused_s: float | None
    certified_s: float | None
    verdicts: dict[str, int]
    """Seconds by outcome and reason."""
    changes: tuple[Change, ...] = ()


class FaultType(click.ParamType):
    """``errors:0.05@730``."""

    name = "fault"

    def convert(self, value: str | Fault, param: click.Parameter | None, ctx: click.Context | None) -> Fault:
        """Return the fault that a text names; a usage error otherwise."""
        if isinstance(value, Fault):
            return value
        what, _, onset = value.partition("@")
        kind, _, size = what.partition(":")
        try:
            return Fault(FaultKind(kind), float(size or 0.0), onset_s=int(onset) if onset else None)
        except ValueError:
            kinds = ", ".join(FaultKind)
            self.fail(f"{value!r} is not KIND:SIZE[@SECOND]; kinds: {kinds}; for example errors:0.05@730", param, ctx)


@click.command()
@click.option("--world", type=click.Choice(list(WORLDS)), default="everything", show_default=True, help="What befalls the fleet.")
@click.option(
    "--canaries", type=click.IntRange(1, 200), default=5, show_default=True, help="As many matched controls, at most 20."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed, the same episode.")
@click.option("--hours", type=click.FloatRange(0.01, 48), default=1.0, show_default=True, help="Length of the rollout.")
@click.option("--fault", type=FaultType(), help="KIND:SIZE[@SECOND], for example errors:0.05@730; a healthy rollout without.")
@click.option("--new-service", is_flag=True, help="Nobody has seen this service restart before.")
@click.option("--trace", is_flag=True, help="Tell every change of the verdict, and go on after a rollback.")
@format_option
@click.pass_context
def sim(ctx: click.Context, /, trace: bool, form: Format, **_options: object) -> int:
    """Judge one rollout of a simulated fleet: with a seed, so that it can be told again.

    It ends with the first verdict that asks for a rollback, with exit code 3.
    """
    told = run(ctx.params, trace=trace)
    if form != "table":
        dump(told, form)
    else:
        click.echo("\n".join(text(told)))
    return 0 if told.rolled_back_s is None else ROLLED_BACK


def run(options: dict[str, object], *, trace: bool) -> Told:
    """Play an episode and judge it."""
    world, canaries, seed, hours = (options[name] for name in ("world", "canaries", "seed", "hours"))
    fault = options["fault"]
    assert isinstance(canaries, int)  # noqa: S101 - click's types
    assert isinstance(seed, int)  # noqa: S101
    assert isinstance(hours, float)  # noqa: S101
    assert fault is None or isinstance(fault, Fault)  # noqa: S101
    episode = Episode(
        world=WORLDS[str(world)],
        canaries=canaries,
        hours=hours,
        past=None if options["new_service"] else Past(),
        fault=fault,
    )
    play = Run(episode, np.random.default_rng([seed, canaries]))
    state = SubjectJudgement()
    for second in play.prelude():
        pane = second.pane(edges_of(state))
        if second.context.placement:
            state, _ = judge(state, second.context, pane, second.clock_ms)
        else:
            state = learn(state, pane)
    seen = _Seen(play.began_ms)
    for second in play.rollout():
        pane = second.pane(edges_of(state))
        state, verdict = judge(state, second.context, pane, second.clock_ms)
        seen.take(verdict)
        if seen.rolled_back_s is not None and not trace:
            break
    return Told(
        world=str(world),
        canaries=canaries,
        seed=seed,
        hours=hours,
        fault=f"{fault.kind} {fault.size:g}" if fault else "",
        onset_s=(play.onset_ms - play.began_ms) / 1_000 if play.onset_ms else None,
        rolled_back_s=seen.rolled_back_s,
        paused_s=seen.paused_s,
        certified_s=seen.certified_s,
        verdicts=dict(sorted(seen.verdicts.items(), key=lambda item: -item[1])),
        changes=tuple(seen.changes if trace else seen.changes[-1:]),
    )


def edges_of(state: SubjectJudgement) -> tuple[int, ...]:
    """Return the slots above which the judge wants requests of the rest counted."""
    drift = getattr(state, "drift", None)
    return () if drift is None else tuple(drift.past.edges)


class _Seen:
    """Verdicts as they come."""

    def __init__(self, began_ms: int) -> None:
        self._began_ms = began_ms
        self.rolled_back_s: float | None = None
        self.paused_s: float | None = None
        self.certified_s: float | None = None
        self.verdicts: dict[str, int] = {}
        self.changes: list[Change] = []

    def take(self, verdict: Verdict) -> None:
        second = (verdict.last_pane_ms - self._began_ms) / 1_000
        fails = verdict.outcome is Outcome.FAIL
        if fails and verdict.action is Action.ROLLBACK and self.rolled_back_s is None:
            self.rolled_back_s = second
        if fails and verdict.action is Action.PAUSE and self.paused_s is None:
            self.paused_s = second
        if verdict.certified and self.certified_s is None:
            self.certified_s = second
        name = f"{verdict.outcome} {verdict.reason}"
        self.verdicts[name] = self.verdicts.get(name, 0) + 1
        change = Change(
            second=second,
            outcome=str(verdict.outcome),
            reason=str(verdict.reason),
            action=str(verdict.action or ""),
            sentence=verdict.sentence,
            evidence=verdict.evidence,
        )
        last = self.changes[-1] if self.changes else None
        if last is None or (last.outcome, last.reason, last.action) != (change.outcome, change.reason, change.action):
            self.changes.append(change)


def text(told: Told) -> list[str]:
    """Return what a person reads."""
    fault = f"{told.fault} from second {told.onset_s:.0f}" if told.onset_s is not None else "no fault"
    found = [f"{told.world}, {told.canaries} canaries, seed {told.seed}, {told.hours:g} h, {fault}"]
    for change in told.changes:
        asks = f" -> {change.action}" if change.action else ""
        found.append(f"{change.second:7.0f} s  {change.outcome} {change.reason}{asks}: {change.sentence}")
        for one in change.evidence:
            pause = f", without deletion {one.log_e_pause:.2f}"
            found.append(f"{'':11}{one.family}/{one.metric}: log e {one.log_e:.2f} of {one.threshold:.2f}{pause}")
    found.append("seconds   " + ", ".join(f"{count} {name}" for name, count in told.verdicts.items()))
    times = {"certified": told.certified_s, "paused": told.paused_s, "rolled back": told.rolled_back_s}
    found += [f"{name} after {second:.0f} s" for name, second in times.items() if second is not None]
    return found
