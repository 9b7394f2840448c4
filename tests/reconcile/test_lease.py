"""What a node does that hears nothing of its author (protocol 4; E4): settled stays, on trial by its lease, advances wait."""

import pytest
from msgspec.structs import replace

from tidegate.reconcile.actions import Kind, Running, Seen, next_action
from tidegate.reconcile.held import Accepted, Held, Proof, identity
from tidegate.reconcile.lease import STALE_MS, Pulse
from tidegate.wire.documents import Move, Phase

NOW_MS = 1_000_000
LEASE = Pulse(silent_ms=120_000)


def ask(kit, pulse: Pulse, *, runs: str = "2", lease: str | None = "2m", held=(), **changes):
    plan, one, two = kit.plan(lease=lease), kit.artifact("1"), kit.artifact("2")
    accepted = Accepted(document=kit.desired(**changes), digest="", plan=plan, roster=kit.roster())
    running = kit.artifact(runs) if runs else None
    memory = Held(accepted=accepted, applied=running, good=one, proof=Proof(artifact=one, rollout="r.1"))
    seen = Seen(
        running=Running(artifact=running, boot="b", ready_ms=1) if running else None,
        cached=frozenset({identity(one), identity(two)}),
    )
    return next_action("n0", {"shop": replace(memory, **dict(held))}, {"shop": seen}, NOW_MS, pulse)


def test_a_canary_without_a_lease_is_held_however_long_nothing_is_heard(kit):
    assert ask(kit, Pulse(silent_ms=1 << 40), lease=None) is None


def test_a_canary_whose_lease_is_over_goes_back_and_a_moment_before_it_does_not(kit):
    assert ask(kit, Pulse(silent_ms=119_999)) is None
    action = ask(kit, LEASE)
    assert (action.kind, action.artifact, action.retreat) == (Kind.SWAP, kit.artifact("1"), True)


def test_it_goes_back_also_while_paused_and_is_not_revived(kit):
    assert ask(kit, LEASE, move=Move.HOLD, phase=Phase.PAUSED).artifact == kit.artifact("1")
    exited = ask(kit, LEASE, runs="", held={"applied": kit.artifact("2"), "exits_ms": (NOW_MS,)}.items())
    assert (exited.kind, exited.artifact) == (Kind.START, kit.artifact("1"))


def test_what_is_settled_has_no_lease(kit):
    done = {"move": Move.HOLD, "phase": Phase.DONE, "cohorts": (), "settled": kit.artifact("2")}
    assert ask(kit, Pulse(silent_ms=1 << 40), **done) is None


def test_a_first_install_has_nothing_to_go_back_to(kit):
    plan = kit.plan(first=True, lease="2m")
    accepted = Accepted(document=kit.desired(plan=plan), digest="", plan=plan, roster=kit.roster())
    seen = Seen(running=Running(artifact=kit.artifact("2"), ready_ms=1), cached=frozenset())
    assert next_action("n0", {"shop": Held(accepted=accepted)}, {"shop": seen}, NOW_MS, LEASE) is None


@pytest.mark.parametrize(
    ("pulse", "move", "goes"),
    [
        (Pulse(silent_ms=STALE_MS), Move.ADVANCE, True),
        (Pulse(silent_ms=STALE_MS + 1), Move.ADVANCE, False),
        (Pulse(heard=False), Move.ADVANCE, False),
        (Pulse(heard=False, silent_ms=STALE_MS + 1), Move.HOLD, True),
    ],
    ids=["heard lately", "silent for too long", "not heard since the start", "no advance: it is settled"],
)
def test_an_advance_is_not_applied_under_an_author_who_is_not_heard(kit, pulse, move, goes):
    changes = {} if move is Move.ADVANCE else {"cohorts": (), "settled": kit.artifact("2"), "phase": Phase.DONE}
    assert (ask(kit, pulse, runs="1", lease=None, move=move, **changes) is not None) is goes


def test_a_retreat_waits_for_nobody(kit):
    assert ask(kit, Pulse(heard=False, silent_ms=1 << 40), lease=None, move=Move.RETREAT, cohorts=()).artifact == kit.artifact(
        "1"
    )
