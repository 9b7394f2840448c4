"""Guards, taken out one by one and in groups: named functions of deciders and nodes, replaced here and nowhere else.

Layers hide each other: a guard that another one backs up is taken out together with it. A run without faults must not notice that
a guard is gone; that some story does is what makes a zero beside it worth anything.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from tidegate.decider import seat
from tidegate.decider.inbox import Inbox
from tidegate.decider.levels import Levels
from tidegate.node import hands, reading
from tidegate.node.executor import Launch
from tidegate.node.reading import Reading
from tidegate.node.state import StateFile
from tidegate.reconcile import accept, actions
from tidegate.reconcile.held import NodeState
from tidegate.rollout import advance, ledger, scene
from tidegate.wire import envelope, keys
from tidegate.wire.documents import KeyRole
from tidegate.wire.envelope import Opened
from tidegate.world.play import beginning

NODES = range(2, 6)
"""How many a fleet of a story may have."""

Patch = tuple[Any, str, Callable[[Any], Any]]
"""Where a guard lives, its name, and what makes a replacement of the real one."""


def always(value: Any) -> Callable[[Any], Any]:
    return lambda _: lambda *_args, **_named: value


def any_role(real: Any) -> Any:
    return lambda opened, keys, _roles: real(opened, keys, frozenset(KeyRole))


def first_of_the_roster(real: Any) -> Any:
    """Whoever asks is told what the first node owes."""

    def target_of(accepted: Any, node: str) -> Any:
        roster = accepted.roster if accepted is not None else None
        return real(accepted, roster.nodes[0] if roster is not None and roster.nodes else node)

    return target_of


def without_catching_up(_real: Any) -> Any:
    async def catch_up(_reading: Reading) -> None: ...

    return catch_up


def any_order_is_accepted(real: Any) -> Any:
    def newest(heard: Any, subject: str, held: Any, *rest: Any) -> Any:
        candidate = heard.candidates.get(subject)
        if candidate is None or (held.accepted is not None and candidate.digest == held.accepted.digest):
            return None
        return real(heard, subject, replace(held, accepted=None), *rest)

    return newest


def any_order_is_heard(real: Any) -> Any:
    def hear(heard: Any, document: Any, arrived: Any) -> Any:
        others = {key: one for key, one in heard.candidates.items() if key != document.subject}
        found, refusal = real(replace(heard, candidates=others), document, arrived)
        return (found, None) if refusal is None else (heard, refusal)

    return hear


def any_author_is_heard(real: Any) -> Any:
    def hear(heard: Any, document: Any, arrived: Any) -> Any:
        found, refusal = real(replace(heard, epoch=document.epoch, author=arrived.signer.id), document, arrived)
        return replace(found, epoch=heard.epoch, author=heard.author), refusal

    return hear


def any_signer_is_an_author(real: Any) -> Any:
    hear = any_author_is_heard(real)
    return lambda heard, document, arrived: hear(
        heard, document, replace(arrived, signer=replace(arrived.signer, role=KeyRole.DECISION))
    )


def the_last_claim_wins(real: Any) -> Any:
    def claimed(leadership: Any, claim: Any, read_s: float) -> Any:
        if claim.epoch == leadership.epoch:
            return replace(leadership, life=claim.life, heard_s=read_s)
        return real(leadership, claim, read_s)

    return claimed


def written_down_afterwards(real: Any) -> Any:
    """A state reaches the disk only with the next one."""

    def save(file: StateFile, state: NodeState) -> NodeState:
        before = getattr(file, "late", None)
        file.late = state  # type: ignore[attr-defined]
        if before is not None:
            real(file, replace(before, serial=state.serial))
        return replace(state, serial=state.serial + 1)

    return save


def a_pass_of_any_placement(real: Any) -> Any:
    def blockers(one: Any) -> Any:
        verdict = one.view.verdicts.get(one.state.subject)
        if verdict is not None:
            verdicts = {one.state.subject: replace(verdict, placement=one.state.placement)}
            one = replace(one, view=replace(one.view, verdicts=verdicts))
        return real(one)

    return blockers


def everybody_at_once(real: Any) -> Any:
    return lambda plan, _stage, whole, waves: replace(real(plan, len(plan.stages) - 1, whole, waves), control=0)


def void_answers_stay(_real: Any) -> Any:
    """As it was before story 609."""

    def forget(inbox: Inbox, answered: Any) -> None:
        inbox.asked = type(inbox.asked)(
            one for one in inbox.asked if one.offset >= answered.get(f"{one.topic}/{one.partition}", 0)
        )

    return forget


def by_what_is_held_alone(real: Any) -> Any:
    return lambda *rest, **_outdated: real(*rest)


def keys_stay(real: Any) -> Any:
    """A key document adds keys, and takes none away."""

    def after_root(trust: Any, version: int, value: bytes) -> Any:
        found = real(trust, version, value)
        return replace(found, keys={**trust.keys, **found.keys})

    return after_root


def no_link_waits(_real: Any) -> Any:
    """A key document that comes before the one that it follows is forgotten."""
    return lambda trust, _version, _value: trust


SIGNATURE = (envelope, "_verifies", always(True))
ROLE = (Opened, "signed_by", any_role)
TARGET = ((actions, "target_of", first_of_the_roster), (hands, "target_of", first_of_the_roster))
CATCH_UP = (Reading, "catch_up", without_catching_up)
EXPIRY_APPLIED = (actions, "expired", always(False))
EXPIRY_BEGUN = (Launch, "refuse_late", always(None))
EXPIRY_ACCEPTED = (accept, "expired", always(False))
ORDER_ACCEPTED = (accept, "_newest", any_order_is_accepted)
ORDER_HEARD = (accept, "_hear_desired", any_order_is_heard)
AUTHOR = (accept, "_hear_desired", any_author_is_heard)
ANY_SIGNER = (accept, "_hear_desired", any_signer_is_an_author)
FIRST_CLAIM = (seat, "claimed", the_last_claim_wins)
CUT = (ledger, "is_void", always(False))
REPUBLISH = (Levels, "saw", always(None))
PERSIST = (StateFile, "save", written_down_afterwards)
PLACEMENT = (advance, "_verdict_blockers", a_pass_of_any_placement)
NODE_CAPS = (accept, "_beyond_caps", always(()))
NODE_PLAN = (accept, "_beyond_plan", always(()))
STAGES = (scene, "sizes", everybody_at_once)
ASK_AGAIN = (Inbox, "forget", void_answers_stay)

OUTDATED = (hands, "next_action", by_what_is_held_alone)
CLAIM_AGAIN = (seat.Seat, "_stands_behind", always(False))
LEDGER_EPOCH = (seat.Seat, "decided", always(None))
REVOKED = (seat.Seat, "revoked", always(False))
GLASS = (accept, "holding", always(None))
VOID_CLAIM = (reading, "void_claim", lambda _: lambda heard, _key: heard)
REVOCATION = (keys, "_after_root", keys_stay)
EARLY_LINK = (keys, "_wait", no_link_waits)

MUTANTS: dict[str, tuple[Patch, ...]] = {
    "signature": (SIGNATURE,),
    "role": (ROLE, ANY_SIGNER),
    "target": TARGET,
    "catching up before acting": (CATCH_UP,),
    "expiry where it begins": (EXPIRY_BEGUN,),
    "expiry where it is applied": (EXPIRY_APPLIED, EXPIRY_BEGUN),
    "expiry": (EXPIRY_APPLIED, EXPIRY_BEGUN, EXPIRY_ACCEPTED),
    "what a refused command hides": (OUTDATED,),
    "epoch of the ledger": (LEDGER_EPOCH,),
    "a claim that is written again": (CLAIM_AGAIN,),
    "an end for a revoked key": (REVOKED,),
    "order where it is accepted": (ORDER_ACCEPTED,),
    "order": (ORDER_ACCEPTED, ORDER_HEARD),
    "author": (AUTHOR,),
    "author and order": (AUTHOR, ORDER_ACCEPTED, ORDER_HEARD),
    "first claim": (FIRST_CLAIM,),
    "takeover cut": (CUT,),
    "republishing the level": (REPUBLISH,),
    "persisting before acting": (PERSIST,),
    "verdict of this placement": (PLACEMENT,),
    "caps on the node": (NODE_CAPS,),
    "plan on the node": (NODE_PLAN,),
    "stages of the decider": (STAGES,),
    "asking again what was voided": (ASK_AGAIN,),
    "break-glass on the node": (GLASS,),
    "epochs of void claims on the node": (VOID_CLAIM,),
    "revocation": (REVOCATION,),
    "key documents in any order": (EARLY_LINK,),
}
"""By what is missing."""


@contextlib.contextmanager
def without(name: str) -> Iterator[None]:
    """Let what is inside run without some guards."""
    for nodes in NODES:
        beginning(nodes)  # made once, with every guard
    with contextlib.ExitStack() as stack:
        for owner, attribute, make in MUTANTS[name]:
            real = getattr(owner, attribute)
            stack.callback(setattr, owner, attribute, real)
            setattr(owner, attribute, make(real))
        yield
