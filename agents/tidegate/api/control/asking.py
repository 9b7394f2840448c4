"""From what is asked for to the decision that answers it. An intent is signed with the API's key, its actor is the token's name;
a document that an operator signed is handed on as it came. The answer is the decision agent's, read back from the log.

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
from tidegate.api.control.calls import Call, Handle, Reply, Route
from tidegate.api.control.mirror import Mirror, says
from tidegate.api.control.problems import MEDIA_TYPE, Declined, ProblemBody
from tidegate.api.control.reads import Asking
from tidegate.api.roles import Right
from tidegate.model import Told
from tidegate.model.asked import Asker, Wish, intent_of
from tidegate.model.rollouts import decision_row
from tidegate.ports import Log, SendUnknown
from tidegate.runtime.problem import Problem
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Intent, digest_of
from tidegate.wire.envelope import Signs, seal
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
    """Which plan or change (approve), version or digest of a definition (release), and why."""

    target: Annotated[str, Meta(min_length=1, max_length=256)]
    reason: Why


class OfPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """Why, and of which plan alone, under way or waiting; none: of what is under way and of all that wait."""

    reason: Why
    target: Annotated[str, Meta(max_length=256)] = ""


class Asks:
    """``signer``: of role ``api``; None: this process has none and hands on signed documents alone."""

    def __init__(self, mirror: Mirror, log: Log, signer: Signs | None, answers: Answers) -> None:
        self._mirror = mirror
        self._log = log
        self._signer = signer
        self._answers = answers
        self._flying: dict[str, asyncio.Future[Told | None]] = {}
        """Requests under way: the same once more waits for the first."""
        self.within_s = ANSWER_WITHIN_S

    async def ask(self, call: Call, subject: str, wish: Wish) -> Reply:
        """Sign what a person wants, append it unless it was before, and return the decision; 202 where none comes in time."""
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

    async def hand_on(self, call: Call, subject: str, name: str) -> Reply:
        """Append the envelope that is the body, unless it was before, and return the decision. ``name``: its digest."""
        return await self._decided(call, "plans", subject, call.raw, name)

    async def _decided(self, call: Call, topic: str, subject: str, envelope: bytes, asked: str) -> Reply:
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


def posting(path: str, right: Right, summary: str, handle: Handle, body: type[Struct] | None) -> Route:
    """Return a write: its answer is the decision that it got."""
    return Route(
        method="POST", path=path, right=right, summary=summary, handle=handle, answer=One[Asking], body=body, decides=True
    )


__all__ = ["ANSWER_WITHIN_S", "HOLDS_WHATEVER", "Asks", "Because", "OfPlan", "OfTarget", "Why", "posting"]
