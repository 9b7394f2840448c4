"""From the records of ``desired`` to the document that counts: who owns the epoch, what is greatest, what the plan allows.

``hear`` folds verified records in offset order; ``accept`` then judges the greatest document of a subject against what the
node holds. Nothing that is not greater than the highest accepted document is ever accepted (E1).

The order of the checks, and what each answers: who owns the epoch (a paused author that comes back, Jepsen's zombie), what is
greater (a replay; AWS DynamoDB, 2025-10-19: a slow enactor applied an old plan), two of one order (equivocation), what the
operator's plan allows (a stolen online key, Uptane), caps (Facebook, 2021-10-04: the checker let a global command through),
expiry (an advance that was withheld). Signature, type and fleet were checked before (``tidegate.wire.envelope``).
"""

from collections.abc import Iterator
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tidegate.reconcile.breakglass import greater, holding, under
from tidegate.reconcile.held import Accepted, Held, same
from tidegate.wire.documents import BreakGlass, Claim, Desired, KeyRole, Move, PublicKey, Roster, standing_digest
from tidegate.wire.names import claim_key, epoch_spent, service_subject, share_of
from tidegate.wire.plans import Plan, Stage
from tidegate.wire.reasons import Reason

T = TypeVar("T")

BODIES_KEPT = 4
"""Plans and rosters kept for each subject: a document may be read a little before the bodies that it names."""


class Arrived(Struct, frozen=True, kw_only=True):
    """One record of ``desired`` whose signature held. ``digest``: of a plan's envelope as it stands there,
    else of the document.
    """

    key: str
    document: Claim | Desired | Plan | Roster | BreakGlass
    signer: PublicKey
    digest: str


class Candidate(Struct, frozen=True, kw_only=True):
    """The greatest document of a subject so far. ``rival``: digest of another one of the same order (E1)."""

    document: Desired
    digest: str
    rival: str = ""


class Heard(Struct, frozen=True, kw_only=True):
    """What the records read so far say. Only the newest epoch has an author; older ones are void from its claim on (E2)."""

    root_version: int = 0
    """The key document by which the records were verified: who reads another one hears all of it anew."""
    epoch: int = 0
    author: str = ""
    """Id of the key that signed the first claim of ``epoch``."""
    spent: int = 0
    """The highest epoch that is known to be gone, led or not: nobody who claims it from here on leads by it."""
    candidates: dict[str, Candidate] = {}
    plans: dict[str, dict[str, Plan]] = {}
    """Subject, then digest of the operator's envelope."""
    rosters: dict[str, dict[str, Roster]] = {}
    glasses: dict[str, BreakGlass] = {}
    """By subject, the one that counts most (E5)."""


class Refusal(Struct, frozen=True, kw_only=True):
    """Why a document does not count, for a machine and for a person."""

    reason: Reason
    sentence: str
    freeze: bool = False
    """Two documents claim one order: the service is frozen (E1)."""
    waiting: bool = False
    """What is missing may still be on its way."""


def hear(heard: Heard, arrived: Arrived) -> tuple[Heard, Refusal | None]:
    """Return what is known after one more record, and why it is refused where it is. Total."""
    document = arrived.document
    if isinstance(document, Desired | BreakGlass) and document.root_version > heard.root_version:
        # It would stand before all that the author says now; once that root version is read it is heard anew.
        what = f"{arrived.key} needs root version {document.root_version}, known is {heard.root_version}"
        return heard, _refuse(Reason.UNKNOWN, what)
    match document:
        case Claim():
            return _hear_claim(heard, document, arrived)
        case Desired():
            return _hear_desired(heard, document, arrived)
        case BreakGlass():
            if arrived.key != document.key:
                return heard, _refuse(Reason.BAD_DOCUMENT, f"break-glass of {document.subject} stands under key {arrived.key}")
            most = greater(heard.glasses.get(document.subject), document) or document
            return replace(heard, glasses=heard.glasses | {document.subject: most}), None
        case Plan():
            subject = service_subject(document.service)
            if arrived.key != f"plan/{subject}":
                return heard, _refuse(Reason.BAD_DOCUMENT, f"a plan of {subject} stands under key {arrived.key}")
            named = heard.candidates[subject].document.plan_digest if subject in heard.candidates else ""
            return replace(heard, plans=_with(heard.plans, subject, arrived.digest, document, named)), None
        case Roster():
            if arrived.key != f"roster/{document.subject}":
                return heard, _refuse(Reason.BAD_DOCUMENT, f"a roster of {document.subject} stands under key {arrived.key}")
            named = heard.candidates[document.subject].document.roster_digest if document.subject in heard.candidates else ""
            return replace(heard, rosters=_with(heard.rosters, document.subject, arrived.digest, document, named)), None


def void_claim(heard: Heard, key: str) -> Heard:
    """Return what is known after a claim that does not count: deciders lead by no epoch that one names, so nobody else may."""
    return replace(heard, spent=epoch_spent(key, heard.spent))


def standing(heard: Heard) -> str:
    """Return the digest over the commands of the epoch at hand, as its author's heartbeat has it (E4)."""
    commands = (one.document for one in heard.candidates.values())
    return standing_digest({one.subject: one.generation for one in commands if one.epoch == heard.epoch})


def accept(heard: Heard, subject: str, held: Held, now_ms: int) -> Accepted | Refusal | None:
    """Return the greatest document of a subject if it may be acted on, why not if it may not, None if there is no news.

    Under break-glass it is less than what was signed (E5), also where the newest document is refused and the one before holds.
    """
    found = _newest(heard, subject, held, now_ms)
    base = found if isinstance(found, Accepted) else held.accepted
    if base is None:
        return found
    glass = holding(heard.glasses.get(subject), held.accepted, base)
    if glass is None:
        return found
    less = under(base, glass)
    return found if less == held.accepted else less


def is_newest(heard: Heard, subject: str, held: Held) -> bool:
    """Return whether what is held is what the author says last, as far as was read.

    It is not where something newer was refused, could not be written down, or was said by a key that counts no more; nor where
    the author of what is held counts no more itself.
    """
    candidate = heard.candidates.get(subject)
    return candidate is not None and held.accepted is not None and candidate.digest == held.accepted.digest


def _newest(heard: Heard, subject: str, held: Held, now_ms: int) -> Accepted | Refusal | None:
    candidate = heard.candidates.get(subject)
    if candidate is None:
        return None
    document, before = candidate.document, held.accepted
    if before is not None and candidate.digest == before.digest and not candidate.rival:
        return None
    at = f"desired of {subject} at order {_text(document)}"
    if before is not None and document.order < before.document.order:
        return _refuse(Reason.STALE_GENERATION, f"{at} is older than {_text(before.document)}, accepted before")
    known = {candidate.digest} | ({candidate.rival} if candidate.rival else set())
    if before is not None and document.order == before.document.order:
        known.add(before.digest)
    if len(known) > 1:
        return _refuse(Reason.DUPLICATE, f"{at}: there are documents with digests {', '.join(sorted(known))}", freeze=True)
    if before is not None and document.order == before.document.order:
        return None
    plan = heard.plans.get(subject, {}).get(document.plan_digest)
    roster = heard.rosters.get(subject, {}).get(document.roster_digest)
    if before is not None and plan is None and document.move is not Move.ADVANCE and _same_plan(document, before):
        # Its operator's key counts no more: the plan goes no further, but from where it is there must be a way back.
        plan = before.plan
    if before is not None and roster is None and document.roster_digest == before.document.roster_digest:
        roster = before.roster
    if held.freeze is not None and document.move is Move.ADVANCE:
        return _refuse(Reason.NOT_ALLOWED, f"{at} advances, and this service is frozen: {held.freeze.why}")
    for refusal in _faults(document, plan, roster, now_ms):
        return replace(refusal, sentence=f"{at} {refusal.sentence}")
    return Accepted(document=document, digest=candidate.digest, plan=plan, roster=roster)


def _same_plan(document: Desired, before: Accepted) -> bool:
    return document.plan_digest == before.document.plan_digest


def _faults(document: Desired, plan: Plan | None, roster: Roster | None, now_ms: int) -> Iterator[Refusal]:
    if document.plan_digest and plan is None:
        yield _refuse(Reason.UNKNOWN, f"names plan {document.plan_digest[:12]}, which has not been read", waiting=True)
    if document.roster_digest and roster is None:
        yield _refuse(Reason.UNKNOWN, f"names roster {document.roster_digest[:12]}, which has not been read", waiting=True)
    yield from _beyond_plan(document, plan)
    yield from _beyond_caps(document, plan, roster)
    if expired(document, plan, now_ms):
        yield _refuse(Reason.EXPIRED, "is an advance whose time is over")


def expires_ms(document: Desired, plan: Plan | None) -> int:
    """Return until when an advance may be applied, 0: for ever; retreats and holds never expire (F1)."""
    if document.move is not Move.ADVANCE:
        return 0
    return min(filter(None, (document.expires_ms, plan.expires_ms if plan is not None else 0)), default=0)


def expired(document: Desired, plan: Plan | None, now_ms: int) -> bool:
    """Return whether an advance may no longer be applied."""
    return 0 < expires_ms(document, plan) <= now_ms


def _beyond_plan(document: Desired, plan: Plan | None) -> Iterator[Refusal]:
    """Refuse versions outside the plan, whoever signed (F3, H1)."""
    allowed = [] if plan is None else [plan.artifact, *([plan.rollback.artifact] if plan.rollback else [])]
    for artifact in (document.settled, document.newcomers):
        if artifact is not None and not any(same(artifact, one) for one in allowed):
            yield _refuse(Reason.NOT_ALLOWED, f"names {artifact.version} ({artifact.sha256[:12]}), which is not in its plan")
    for cohort in document.cohorts:
        if cohort.version not in {one.version for one in allowed}:
            yield _refuse(Reason.NOT_ALLOWED, f"gives cohort {cohort.name} {cohort.version}, which is not in its plan")


def _beyond_caps(document: Desired, plan: Plan | None, roster: Roster | None) -> Iterator[Refusal]:
    """Refuse what exceeds the plan's own cap on how many nodes get its version at a stage (F3)."""
    for cohort in document.cohorts:
        if roster is None:
            yield _refuse(Reason.BAD_DOCUMENT, f"has cohort {cohort.name} and no roster")
        elif plan is None or cohort.version != plan.artifact.version:
            continue
        elif cohort.name != "canary" or cohort.first != 0:
            yield _refuse(Reason.NOT_ALLOWED, f"gives the plan's version to cohort {cohort.name} from position {cohort.first}")
        elif document.stage >= len(plan.stages):
            yield _refuse(Reason.NOT_ALLOWED, f"is at stage {document.stage} of a plan with {len(plan.stages)}")
        elif cohort.count > (cap := _cap(plan.stages[document.stage], roster)):
            yield _refuse(Reason.NOT_ALLOWED, f"gives {cohort.count} nodes the plan's version; this stage allows {cap}")


def _cap(stage: Stage, roster: Roster) -> int:
    if stage.set_wave is not None:
        return roster.waves[stage.set_wave - 1] if stage.set_wave <= len(roster.waves) else 0
    return share_of(f"{stage.set_weight}%" if stage.set_weight is not None else str(stage.set_nodes), len(roster.nodes))


def _hear_claim(heard: Heard, claim: Claim, arrived: Arrived) -> tuple[Heard, Refusal | None]:
    if arrived.key != claim_key(claim.epoch, claim.life):
        # Under another key it would evict that one when the log is compacted.
        what = f"a claim of {claim.life} for epoch {claim.epoch} stands under key {arrived.key}"
        return void_claim(heard, arrived.key), _refuse(Reason.BAD_DOCUMENT, what)
    if claim.epoch <= max(heard.epoch, heard.spent):
        return heard, None  # lost: two that stand by may claim one epoch at once (E2)
    return replace(heard, epoch=claim.epoch, author=arrived.signer.id, spent=claim.epoch), None


def _hear_desired(heard: Heard, document: Desired, arrived: Arrived) -> tuple[Heard, Refusal | None]:
    at = f"desired of {document.subject} at order {_text(document)}"
    if arrived.key != document.subject or document.subject != service_subject(document.service):
        return heard, _refuse(Reason.BAD_DOCUMENT, f"{at} names service {document.service} and stands under key {arrived.key}")
    if arrived.signer.role is not KeyRole.DECISION:
        return heard, _refuse(Reason.NOT_ALLOWED, f"{at} is signed by a {arrived.signer.role} key")
    if document.epoch != heard.epoch or arrived.signer.id != heard.author:
        return heard, _refuse(
            Reason.NOT_ALLOWED,
            f"{at} is signed by {arrived.signer.id}; epoch {heard.epoch} of {heard.author or 'nobody'} is current",
        )
    before = heard.candidates.get(document.subject)
    if before is not None and document.order < before.document.order:
        return heard, _refuse(Reason.STALE_GENERATION, f"{at} comes after {_text(before.document)}")
    if before is not None and document.order == before.document.order:
        if arrived.digest in (before.digest, before.rival):
            return heard, None
        rival = replace(before, rival=before.rival or arrived.digest)
        return replace(heard, candidates=heard.candidates | {document.subject: rival}), _refuse(
            Reason.DUPLICATE, f"{at} differs from another document of the same order", freeze=True
        )
    found = Candidate(document=document, digest=arrived.digest)
    return replace(heard, candidates=heard.candidates | {document.subject: found}), None


def _with(bodies: dict[str, dict[str, T]], subject: str, digest: str, body: T, named: str) -> dict[str, dict[str, T]]:
    """Add a body; the oldest is forgotten, but not the one that the greatest document names: old ones are easily sent again."""
    before = bodies.get(subject, {})
    kept = {key: value for key, value in before.items() if key != digest}
    newest = dict(list((kept | {digest: body}).items())[-BODIES_KEPT:])
    return bodies | {subject: ({named: before[named]} if named in before else {}) | newest}


def _refuse(reason: Reason, sentence: str, *, freeze: bool = False, waiting: bool = False) -> Refusal:
    return Refusal(reason=reason, sentence=sentence, freeze=freeze, waiting=waiting)


def _text(document: Desired) -> str:
    return f"{document.root_version}.{document.epoch}.{document.generation}"
