"""Documents that an operator's key signed: plans, groups, policies. They are handed on byte for byte; no key of the API's could
make one (H1).
"""

from http import HTTPStatus
from typing import TypeVar

from msgspec.structs import replace

from tidegate.api.control.asking import Asks, posting
from tidegate.api.control.calls import Call, Handle, Reply, Route
from tidegate.api.control.mirror import Mirror
from tidegate.api.control.problems import Declined
from tidegate.api.roles import Right
from tidegate.wire.codec import Malformed
from tidegate.wire.documents import digest
from tidegate.wire.envelope import KINDS, Refused, unseal
from tidegate.wire.groups import Group
from tidegate.wire.names import service_subject
from tidegate.wire.plans import Plan
from tidegate.wire.policies import Policy

T = TypeVar("T", Plan, Group, Policy)


class Documents:
    """The routes that hand on what was signed elsewhere."""

    def __init__(self, mirror: Mirror, asks: Asks) -> None:
        self._mirror = mirror
        self._asks = asks

    def routes(self) -> list[Route]:
        """Return them."""

        def row(path: str, right: Right, summary: str, handle: Handle) -> Route:
            return replace(posting(path, right, summary, handle, None), envelope=True)

        return [
            row("/rollouts", Right.START, "Hand on a plan that an operator's key signed", self._plan),
            row("/groups", Right.START, "Hand on a group of plans that an operator's key signed", self._group),
            row("/policies", Right.POLICY, "Hand on a policy that an operator's key signed", self._policy),
        ]

    async def _plan(self, call: Call) -> Reply:
        plan = self._opened(call, Plan)
        self._check(call, Right.START, (plan.service,))
        return await self._asks.hand_on(call, service_subject(plan.service), digest(call.raw))

    async def _group(self, call: Call) -> Reply:
        group = self._opened(call, Group)
        plans = (envelope for wave in group.waves for envelope in wave.plans)
        self._check(call, Right.START, tuple(self._opened(replace(call, raw=one.encode()), Plan).service for one in plans))
        return await self._asks.hand_on(call, group.key, digest(call.raw))

    async def _policy(self, call: Call) -> Reply:
        policy = self._opened(call, Policy)
        before = self._mirror.model.ledger.policies.get(policy.name)
        self._check(call, Right.POLICY, policy.services)
        if before is not None:
            # It takes the place of one that may be of others.
            self._check(call, Right.POLICY, before.policy.services)
        return await self._asks.hand_on(call, policy.key, digest(call.raw))

    def _opened(self, call: Call, kind: type[T]) -> T:
        word = KINDS[kind]
        try:
            document, _ = unseal(call.raw, kind, self._mirror.model.trust)
        except Malformed as error:
            fault = (".".join(filter(None, ("body", error.path))), error.problem)
            remedy = "sign it with an operator's key: the command line does, with tidegate rollout start or policy set"
            raise Declined(HTTPStatus.BAD_REQUEST, f"this is no signed {word}", remedy, faults=[fault]) from error
        except Refused as error:
            raise Declined(HTTPStatus.FORBIDDEN, str(error), "have an operator's key of this fleet sign it") from error
        return document

    def _check(self, call: Call, right: Right, services: tuple[str, ...]) -> None:
        """Decline where the right is not held on each of some services; none of them: on all there are."""
        for subject in map(service_subject, services) if services else ("",):
            if not call.visitor.may(right, subject):
                what = f"{right} {subject}" if subject else f"{right} what is of every service"
                raise Declined(HTTPStatus.FORBIDDEN, f"this token may not {what}", "use one that may")


__all__ = ["Documents"]
