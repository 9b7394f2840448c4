"""Alarms, silences and policies as they stand, for a person."""

from collections.abc import Iterator

from msgspec import Struct

from tidegate.alarms.board import Board, Hidden, hidden
from tidegate.alarms.silences import hidden_by
from tidegate.model.model import Model
from tidegate.rollout.calendar import holds
from tidegate.rollout.ledger import InForce, Ledger
from tidegate.rollout.policies import spent_by
from tidegate.wire.decisions import Silence
from tidegate.wire.documents import Hush
from tidegate.wire.judgement import Alarm, AlarmState, Episode, Severity
from tidegate.wire.policies import Policy


class AlarmRow(Struct, frozen=True, kw_only=True):
    """One alarm: the present or last time it fired. Times are milliseconds since the epoch."""

    key: str
    name: str
    service: str
    severity: Severity
    state: AlarmState
    times: int
    """How often it has fired."""
    hidden_by: str
    """Who hides it while it fires, in words; empty: nobody."""
    labels: dict[str, str]
    summary: str
    start_ms: int
    end_ms: int
    subject: str


class Held(Struct, frozen=True):
    """A silence and when it ends or was ended."""

    silence: Silence
    until_ms: int


class SilenceRow(Struct, frozen=True, kw_only=True):
    """One silence and what it has hidden: by alarm the times it fired."""

    id: str
    hush: Hush
    since_ms: int
    until_ms: int
    actor: str
    reason: str
    hid: dict[str, tuple[Episode, ...]]


class PolicyRow(Struct, frozen=True, kw_only=True):
    """One policy in force, and whether it stops anything now."""

    policy: Policy
    since_ms: int
    frozen: bool
    budget_spent: bool


def board_of(model: Model) -> Board:
    """Return the board of what a model has read."""
    return Board({**model.view.ended, **model.view.alarms}, model.ledger.silences)


def alarm_rows(model: Model, now_ms: int) -> list[AlarmRow]:
    """Return every alarm that is known, those that fire first, the newest first."""
    board = board_of(model)
    veiled = hidden(board, now_ms)
    rows = [_alarm(one, veiled.get(one.key)) for one in board.alarms.values()]
    return sorted(rows, key=lambda one: (one.state is not AlarmState.FIRING, -one.start_ms, one.key))


def held_silences(model: Model) -> list[Held]:
    """Return every silence that was not ended, whatever its age, and those of the decisions that are remembered, oldest first."""
    found: dict[str, Held] = {}
    before: tuple[str, ...] = ()
    for told in model.told:
        silences = told.decision.silences
        if silences is None:
            continue
        now = tuple(one.id for one in silences)
        found |= {one.id: Held(one, one.hush.until_ms) for one in silences if one.id not in found}
        for name in {*before} - {*now}:
            found[name] = Held(found[name].silence, min(found[name].until_ms, told.decision.now_ms))
        before = now
    older = (one for one in model.ledger.silences if one.id not in found)
    return [*(Held(one, one.hush.until_ms) for one in older), *found.values()]


def silence_row(held: Held, model: Model, now_ms: int) -> SilenceRow:
    """Return a silence with what it has hidden so far."""
    asked = held.silence
    return SilenceRow(
        id=asked.id,
        hush=asked.hush,
        since_ms=asked.since_ms,
        until_ms=held.until_ms,
        actor=asked.actor,
        reason=asked.reason,
        hid=dict(hidden_by(asked, board_of(model).alarms, min(now_ms, held.until_ms))),
    )


def policies_in_force(ledger: Ledger) -> Iterator[InForce]:
    """Yield the policies that say something, by name."""
    yield from (held for _, held in sorted(ledger.policies.items()) if not held.policy.empty)


def policy_row(ledger: Ledger, held: InForce, now_ms: int) -> PolicyRow:
    """Return a policy, and whether it stops anything now."""
    return PolicyRow(
        policy=held.policy,
        since_ms=held.since_ms,
        frozen=any(holds(one, now_ms) for one in held.policy.freezes),
        budget_spent=bool(spent_by(ledger, held, now_ms)),
    )


def _alarm(one: Alarm, veil: Hidden | None) -> AlarmRow:
    return AlarmRow(
        key=one.key,
        name=one.name,
        service=one.service,
        severity=one.severity,
        state=one.state,
        times=one.episodes,
        hidden_by=_why(veil),
        labels=one.labels,
        summary=one.summary,
        start_ms=one.start_ms,
        end_ms=one.end_ms,
        subject=one.subject,
    )


def _why(veil: Hidden | None) -> str:
    if veil is None:
        return ""
    if veil.silence is not None:
        return f"silence {veil.silence.id} of {veil.silence.actor}"
    return veil.inhibitor.name if veil.inhibitor is not None else ""
