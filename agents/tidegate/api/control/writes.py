"""What may be asked of rollouts and groups, of nodes, and of alarms."""

from http import HTTPStatus
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from tidegate.api.control.asking import HOLDS_WHATEVER, Asks, Because, OfPlan, OfTarget, Why, posting
from tidegate.api.control.calls import Call, Reply, Route, named
from tidegate.api.control.mirror import Mirror, about
from tidegate.api.control.problems import Declined
from tidegate.api.roles import Right
from tidegate.model.asked import EVERYTHING, Wish
from tidegate.wire.documents import Hush, Verb
from tidegate.wire.names import Duration, Label, duration_ms, service_subject


class NewSilence(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which alarms to hide, those that have all that is named here, and for how long: 30d at most."""

    service: Label = ""
    name: Label = ""
    labels: Annotated[dict[Label, Label], Meta(max_length=16)] = {}
    lasts: Duration
    reason: Why


class Writes:
    """The routes that ask for something."""

    def __init__(self, mirror: Mirror, asks: Asks) -> None:
        self._mirror = mirror
        self._asks = asks

    def routes(self) -> list[Route]:
        """Return them."""
        of_rollouts = (Right.PAUSE, Right.RESUME, Right.PROMOTE, Right.UNDO, Right.RETRY)
        return [
            *(self._wish(f"/rollouts/{{service}}/{one}", one, _TOLD[one], Because) for one in of_rollouts),
            self._wish("/rollouts/{service}/abort", Right.ABORT, _TOLD[Right.ABORT], OfPlan),
            self._wish("/rollouts/{service}/approve", Right.APPROVE, "Approve of a plan that somebody else signed", OfTarget),
            self._wish("/rollouts/{service}/release", Right.RELEASE, "Take a version out of quarantine", OfTarget),
            *(self._wish(f"/groups/{{group}}/{one}", one, text, Because) for one, text in _OF_GROUPS.items()),
            *(self._of_node(one) for one in (Right.CORDON, Right.UNCORDON)),
            posting("/silences", Right.SILENCE, "Hide alarms for a while", self._silence, NewSilence),
            posting("/silences/{id}/end", Right.SILENCE, "End a silence before its time", self._unsilence, Because),
        ]

    def _wish(self, path: str, right: Right, summary: str, body: type[Struct]) -> Route:
        async def handle(call: Call) -> Reply:
            target = getattr(call.body, "target", "")
            wish = Wish(verb=Verb(right), reason=call.body.reason, target=target)
            return await self._asks.ask(call, named(call.path), wish)

        return replace(posting(path, right, summary, handle, body), conditional=right not in HOLDS_WHATEVER)

    def _of_node(self, right: Right) -> Route:
        async def handle(call: Call) -> Reply:
            node = call.path["node"]
            if not call.visitor.may(right):
                raise Declined(HTTPStatus.FORBIDDEN, f"a token with scopes may not {right} nodes", "use one without")
            # Who was retired may still be cordoned.
            if node not in self._mirror.model.view.enrolled and node not in self._mirror.model.ledger.cordoned:
                raise Declined(HTTPStatus.NOT_FOUND, f"{node} is no enrolled node", "see /api/v1/fleet")
            return await self._asks.ask(call, EVERYTHING, Wish(verb=Verb(right), reason=call.body.reason, target=node))

        return posting(f"/fleet/{{node}}/{right}", right, _TOLD[right], handle, Because)

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
        return await self._asks.ask(call, EVERYTHING, Wish(verb=Verb.SILENCE, reason=body.reason, hush=hush))

    async def _unsilence(self, call: Call) -> Reply:
        name = call.path["id"]
        found = next((one for one in self._mirror.model.ledger.silences if one.id == name), None)
        if found is None or not call.visitor.sees(*about(found.hush.service)):
            raise Declined(HTTPStatus.NOT_FOUND, f"no silence {name} holds", "see /api/v1/silences")
        if not call.visitor.may(Right.SILENCE, service_subject(found.hush.service) if found.hush.service else ""):
            raise Declined(HTTPStatus.FORBIDDEN, "this token may not end that silence", "use one that is for its service")
        return await self._asks.ask(call, EVERYTHING, Wish(verb=Verb.UNSILENCE, reason=call.body.reason, target=name))


_TOLD = {
    Right.PAUSE: "Stop advances and batches; judgement and rollback go on",
    Right.RESUME: "Go on after a pause",
    Right.PROMOTE: "End the bake or answer the gate of this stage; never overrules a fail",
    Right.ABORT: "Roll back what is under way or watched, and withdraw what waits; what was promoted before is undone",
    Right.UNDO: "Go back from what was promoted to the rollback target of its plan, and withdraw what waits",
    Right.RETRY: "Try the last plan again",
    Right.CORDON: "Let a node take part in no rollout that begins from now on",
    Right.UNCORDON: "Let a node take part again",
}
_OF_GROUPS = {
    Right.PAUSE: "Let no wave begin and nothing of the group advance; judgement and rollback go on",
    Right.RESUME: "Go on after a pause",
    Right.PROMOTE: "End the bake between two waves",
    Right.ABORT: "Take back all that the group has changed, the last wave first",
    Right.UNDO: "Go back to what was there before the group",
}


__all__ = ["Writes"]
