"""Silences as a person sees them: one that holds is listed however much was decided since."""

import pytest

from tidegate.model import Model, model
from tidegate.model.alarms import held_silences
from tidegate.ports import Record
from tidegate.wire.codec import encode
from tidegate.wire.decisions import Decision, DecisionKind, Silence
from tidegate.wire.documents import Hush, digest
from tidegate.wire.envelope import Trust
from tidegate.wire.reasons import Reason

KEPT = 3
OTHER: tuple[Silence, ...] | None = None
"""A decision that is about something else."""


def silence(name: str, until_ms: int = 1_000) -> Silence:
    return Silence(id=name, hush=Hush(service=name, until_ms=until_ms), since_ms=0)


A, B = silence("a"), silence("b")


@pytest.mark.parametrize(
    ("decided", "held"),
    [
        ([], []),
        ([(A,)], [("a", 1_000)]),
        ([(A,), *[OTHER] * KEPT], [("a", 1_000)]),
        ([(A,), *[OTHER] * 5 * KEPT, (A, B)], [("a", 1_000), ("b", 1_000)]),
        ([(A,), (A, B), *[OTHER] * KEPT], [("a", 1_000), ("b", 1_000)]),
        # Ended a moment ago: known still, and when that was.
        ([(A,), ()], [("a", 1)]),
        ([(A,), (A, B), (B,), *[OTHER] * (KEPT - 2)], [("a", 2), ("b", 1_000)]),
        # Ended long ago.
        ([(A,), (), *[OTHER] * KEPT], []),
        ([(A, B), (B,), *[OTHER] * KEPT], [("b", 1_000)]),
    ],
)
def test_what_holds_is_listed_whatever_its_age_and_what_was_ended_while_that_is_remembered(monkeypatch, decided, held):
    monkeypatch.setattr(model, "TOLD_KEPT", KEPT)
    one, prev = Model(Trust("local", 1, {})), ""
    for seq, silences in enumerate(decided):
        raw = encode(
            Decision(
                seq=seq,
                prev=prev,
                epoch=1,
                kind=DecisionKind.SETTING,
                subject="svc/fleet",
                generation=0,
                now_ms=seq,
                reason=Reason.ASKED,
                silences=silences,
            )
        )
        prev = digest(raw)
        one.see([Record("decisions", 0, seq, seq, None, raw, {})])
    assert [(each.silence.id, each.until_ms) for each in held_silences(one)] == held
