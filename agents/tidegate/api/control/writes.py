"""What may be asked for. An intent is signed with the API's key, its actor is the token's name; a plan is an operator's envelope,
handed on as it came. The answer is the decision agent's, read back from the log.

A person's ``Idempotency-Key`` makes the id of the intent, and decide answers an id once (D3): a request that is sent again, to
this process or another, has the answer of the first.
"""

import asyncio
import logging
import secrets
from http import HTTPStatus
from typing import Annotated

import structlog
from msgspec import Meta, Struct
from msgspec.structs import replace

from tidegate.api.control.answers import Answers, Known, One
from tidegate.api.control.calls import Call, Handle, Reply, Route, named
from tidegate.api.control.mirror import Mirror, about, says
from tidegate.api.control.problems import MEDIA_TYPE, Declined, ProblemBody
from tidegate.api.control.reads import Asking
from tidegate.api.roles import Right
from tidegate.model import Told
from tidegate.model.asked import EVERYTHING, Asker, Wish, intent_of
from tidegate.model.rollouts import decision_row
from tidegate.ports import Log, SendUnknown
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Hush, Intent, Verb, digest, digest_of
from tidegate.wire.envelope import Refused, Signs, seal, unseal
from tidegate.wire.names import Duration, Label, duration_ms, service_subject
from tidegate.wire.plans import Plan
from tidegate.wire.reasons import Reason

ANSWER_WITHIN_S = 10.0
"""So long a request waits for its decision; the next decision agent leads after 9 s of silence."""
REFUSALS = {
    Reason.BAD_DOCUMENT: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.NOT_ALLOWED: HTTPStatus.FORBIDDEN,
    Reason.UNKNOWN: HTTPStatus.NOT_FOUND,
}
"""Every other refusal is a conflict with how things stand."""
HOLDS_WHATEVER = frozenset({Right.PAUSE, Right.ABORT, Right.KILL})
"""D3: toward safe, whatever the person saw."""

log_of_api = structlog.wrap_logger(logging.getLogger("tidegate.api"))

Why = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"\S")]


class Because(Struct, frozen=True, forbid_unknown_fields=True):
    """Why; it stands in the decision."""

    reason: Why


class OfTarget(Struct, frozen=True, forbid_unknown_fields=True):
    """Which plan (approve) or version (release), and why."""

    target: Annotated[str, Meta(min_length=1, max_length=256)]
    reason: Why


class NewSilence(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which alarms to hide, those that have all that is named here, and for how long: 30d at most."""

    service: Label = ""
    name: Label = ""
    labels: Annotated[dict[Label, Label], Meta(max_length=16)] = {}
    lasts: Duration
    reason: Why


class Writes:
    """The routes that ask for something. ``signer``: of role ``api``; None: this process has none and hands on plans alone."""

    def __init__(self, mirror: Mirror, log: Log, signer: Signs | None, answers: Answers) -> None:
        self._mirror = mirror
        self._log = log
        self._signer = signer
        self._answers = answers
        self._flying: dict[str, asyncio.Future[Told | None]] = {}
        """Requests under way: the same once more waits for the first."""
        self.within_s = ANSWER_WITHIN_S

    def routes(self) -> list[Route]:
        """Return them."""
        rights = (Right.PAUSE, Right.RESUME, Right.PROMOTE, Right.ABORT, Right.UNDO, Right.RETRY)
        of_flags = (Right.KILL, Right.RESTORE, Right.PAUSE, Right.RESUME, Right.PROMOTE, Right.ABORT)
        start = _post("/rollouts", Right.START, "Hand on a plan that an operator's key signed", self._start, None)
        return [
            replace(start, envelope=True),
            *(self._wish(f"/rollouts/{{service}}/{one}", one, _TOLD[one], Because) for one in rights),
            self._wish("/rollouts/{service}/approve", Right.APPROVE, "Approve of a plan that somebody else signed", OfTarget),
            self._wish("/rollouts/{service}/release", Right.RELEASE, "Take a version out of quarantine", OfTarget),
            *(self._wish(f"/flags/{{set}}/{{flag}}/{one}", one, _OF_FLAGS[one], Because) for one in of_flags),
            self._wish("/flags/{set}/{flag}/approve", Right.APPROVE, "Approve of a change that somebody else wants", OfTarget),
            *(self._of_node(one) for one in (Right.CORDON, Right.UNCORDON)),
            _post("/silences", Right.SILENCE, "Hide alarms for a while", self._silence, NewSilence),
            _post("/silences/{id}/end", Right.SILENCE, "End a silence before its time", self._unsilence, Because),
        ]

    def _wish(self, path: str, right: Right, summary: str, body: type[Struct]) -> Route:
        async def handle(call: Call) -> Reply:
            target = getattr(call.body, "target", "")
            wish = Wish(verb=Verb(right), reason=call.body.reason, target=target)
            return await self._ask(call, named(call.path), wish)

        return replace(_post(path, right, summary, handle, body), conditional=right not in HOLDS_WHATEVER)

    def _of_node(self, right: Right) -> Route:
        async def handle(call: Call) -> Reply:
            node = call.path["node"]
            if not call.visitor.may(right):
                raise Declined(HTTPStatus.FORBIDDEN, f"a token with scopes may not {right} nodes", "use one without")
            # Who was retired may still be cordoned.
            if node not in self._mirror.model.view.enrolled and node not in self._mirror.model.ledger.cordoned:
                raise Declined(HTTPStatus.NOT_FOUND, f"{node} is no enrolled node", "see /api/v1/fleet")
            return await self._ask(call, EVERYTHING, Wish(verb=Verb(right), reason=call.body.reason, target=node))

        return _post(f"/fleet/{{node}}/{right}", right, _TOLD[right], handle, Because)

    async def _silence(self, call: Call) -> Reply:
        body: NewSilence = call.body
        subject = service_subject(body.service) if body.service else ""
        if not call.visitor.may(Right.SILENCE, subject):
            raise Declined(
                HTTPStatus.FORBIDDEN, "this token may not hide alarms of every service", "name a service that it is for"
            )
        hush = Hush(
            service=body.service, name=body.name, labels=body.labels, until_ms=self._mirror.now_ms + duration_ms(body.lasts)
        )
        return await self._ask(call, EVERYTHING, Wish(verb=Verb.SILENCE, reason=body.reason, hush=hush))

    async def _unsilence(self, call: Call) -> Reply:
        name = call.path["id"]
        found = next((one for one in self._mirror.model.ledger.silences if one.id == name), None)
        if found is None or not call.visitor.sees(*about(found.hush.service)):
            raise Declined(HTTPStatus.NOT_FOUND, f"no silence {name} holds", "see /api/v1/silences")
        if not call.visitor.may(Right.SILENCE, service_subject(found.hush.service) if found.hush.service else ""):
            raise Declined(HTTPStatus.FORBIDDEN, "this token may not end that silence", "use one that is for its service")
        return await self._ask(call, EVERYTHING, Wish(verb=Verb.UNSILENCE, reason=call.body.reason, target=name))

    async def _start(self, call: Call) -> Reply:
        try:
            plan, _ = unseal(call.raw, Plan, self._mirror.model.trust)
        except Malformed as error:
            fault = (".".join(filter(None, ("body", error.path))), error.problem)
            raise Declined(
                HTTPStatus.BAD_REQUEST, "this is no signed plan", "sign it: tidegate rollout start", faults=[fault]
            ) from error
        except Refused as error:
            raise Declined(HTTPStatus.FORBIDDEN, str(error), "have an operator's key of this fleet sign it") from error
        subject = service_subject(plan.service)
        if not call.visitor.may(Right.START, subject):
            raise Declined(HTTPStatus.FORBIDDEN, f"this token may not start rollouts of {plan.service}", "use one that may")
        return await self._decided(call, "plans", subject, call.raw, digest(call.raw))

    async def _ask(self, call: Call, subject: str, wish: Wish) -> Reply:
        if self._signer is None:
            raise Declined(
                HTTPStatus.SERVICE_UNAVAILABLE, "this process holds no key of role api", "see: tidegate keys list; then restart"
            )
        intent = self._intent(call, subject, wish)
        before = self._mirror.asked.get(intent.id)
        if before is not None and before.says != says(intent):
            raise Declined(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was used for something else",
                "use a new one for each thing that you want",
            )
        if before is None and intent.id not in self._flying and self._mirror.answer(intent.id) is None:
            self._refuse_outdated(call, intent)
        try:
            envelope = await asyncio.to_thread(seal, intent, self._signer)
        except Problem as problem:
            raise Declined(HTTPStatus.SERVICE_UNAVAILABLE, str(problem), problem.remedy) from problem
        return await self._decided(call, "intents", subject, envelope, intent.id)

    def _intent(self, call: Call, subject: str, wish: Wish) -> Intent:
        key, actor = call.idempotency_key, call.visitor.name
        unique = digest_of([actor, key])[:40] if key else secrets.token_hex(20)
        ledger, now_ms = self._mirror.model.ledger, self._mirror.now_ms
        intent = intent_of(
            ledger, subject, wish, Asker(self._mirror.model.trust.fleet, actor), unique=f"api-{unique}", now_ms=now_ms
        )
        # The verb is no part of it: a key that comes again with another verb is to be noticed.
        intent = replace(intent, id=f"api-{unique}")
        return intent if call.expected is None else replace(intent, generation=call.expected)

    def _refuse_outdated(self, call: Call, intent: Intent) -> None:
        generation = self._mirror.model.ledger.generation(intent.subject)
        if call.expected is not None and call.expected != generation:
            raise Declined(
                HTTPStatus.CONFLICT,
                f"{intent.subject} is at generation {generation}, you saw {call.expected}",
                "look again, then ask again",
                headers={"ETag": f'"{generation}"'},
            )

    async def _decided(self, call: Call, topic: str, subject: str, envelope: bytes, asked: str) -> Reply:
        """Append, unless it was before, and return the decision; 202 where none comes in time."""
        flying = self._flying.get(asked)
        if flying is None:
            flying = asyncio.ensure_future(self._append(topic, subject, envelope, asked))
            self._flying[asked] = flying
            flying.add_done_callback(lambda _: self._flying.pop(asked, None))
        told = await asyncio.shield(flying)
        log_of_api.info(
            "asked",
            by=call.visitor.name,
            subject=subject,
            asked=asked,
            answer=str(told.decision.kind) if told is not None else "none yet",
        )
        return self._reply(told, asked, subject)

    async def _append(self, topic: str, subject: str, envelope: bytes, asked: str) -> Told | None:
        told = self._mirror.answer(asked)
        if told is not None:
            return told
        if asked not in self._mirror.asked:
            try:
                await self._log.append(topic, subject, envelope)
            except ValueError as error:
                raise Declined(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error), "make it smaller") from error
            except SendUnknown as error:
                told = await self._mirror.wait(asked, self.within_s)
                if told is None and asked not in self._mirror.asked:
                    raise Declined(
                        HTTPStatus.SERVICE_UNAVAILABLE,
                        "the broker did not confirm it: it may stand in the log, or not",
                        "send the same again with the same Idempotency-Key: it counts once",
                    ) from error
                return told
        return await self._mirror.wait(asked, self.within_s)

    def _reply(self, told: Told | None, asked: str, subject: str) -> Reply:
        known: Known = self._answers.known()
        look = {"Location": f"/api/v1/requests/{asked}"}
        if told is None:
            item = Asking(id=asked, subject=subject, asked_ms=None, decision=None)
            return Reply(One(known=known, item=item), HTTPStatus.ACCEPTED, look)
        decision = told.decision
        headers = {"ETag": f'"{decision.generation}"', **look}
        if decision.kind is not DecisionKind.REFUSE:
            item = Asking(id=asked, subject=subject, asked_ms=None, decision=decision_row(told))
            return Reply(One(known=known, item=item), headers=headers)
        status = REFUSALS.get(decision.reason, HTTPStatus.CONFLICT)
        body = ProblemBody(
            title=status.phrase,
            status=status.value,
            detail=decision.message or decision.reason.replace("_", " "),
            remedy="look again, then ask again" if status is HTTPStatus.CONFLICT else "",
            reason=decision.reason,
            answers=asked,
        )
        return Reply(body, status, headers, MEDIA_TYPE)


def _post(path: str, right: Right, summary: str, handle: Handle, body: type[Struct] | None) -> Route:
    """Return a write: its answer is the decision that it got."""
    return Route(
        method="POST", path=path, right=right, summary=summary, handle=handle, answer=One[Asking], body=body, decides=True
    )


_TOLD = {
    Right.PAUSE: "Stop advances and batches; judgement and rollback go on",
    Right.RESUME: "Go on after a pause",
    Right.PROMOTE: "End the bake or answer the gate of this stage; never overrules a fail",
    Right.ABORT: "Roll back now; wins in every state",
    Right.UNDO: "Go back to the rollback target of the last plan",
    Right.RETRY: "Try the last plan again",
    Right.CORDON: "Let a node take part in no rollout that begins from now on",
    Right.UNCORDON: "Let a node take part again",
}
_OF_FLAGS = {
    Right.KILL: "Give everyone the kill variant, now, whatever the rules say",
    Right.RESTORE: "Bring back what was there before a kill or a switch-off",
    Right.PAUSE: "Stop the ramp where it is; judgement and switch-off go on",
    Right.RESUME: "Go on with a paused ramp, its stage anew",
    Right.PROMOTE: "End the bake or answer the gate of this stage; never overrules a fail",
    Right.ABORT: "End the change: what was there before it is for everyone again",
}


__all__ = ["ANSWER_WITHIN_S", "Writes"]
