"""What may be asked of flags. What grows comes by its ramp's stages, and only toward safe at once (G2); decide sees to it."""

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from tidegate.api.control.asking import HOLDS_WHATEVER, Asks, Because, OfTarget, Why, posting
from tidegate.api.control.calls import Call, Handle, Reply, Route, named
from tidegate.api.roles import Right
from tidegate.model.asked import Wish
from tidegate.wire.documents import Verb
from tidegate.wire.flagchanges import FlagChange, FlagRamp
from tidegate.wire.flagspecs import FlagSpec

DEFINITION_BYTES_MAX = 1 << 20


class Definition(Struct, frozen=True, forbid_unknown_fields=True):
    """What is wanted of a flag, in the words of a flag file, and why."""

    spec: FlagSpec
    reason: Why
    ramp: FlagRamp | None = None


class Share(Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of the users has the definition, of 10,000: less, or back to what its stages have given."""

    weight: Annotated[int, Meta(ge=0, le=10_000)]
    reason: Why


class FlagWrites:
    """The routes that ask for something of a flag."""

    def __init__(self, asks: Asks) -> None:
        self._asks = asks

    def routes(self) -> list[Route]:
        """Return them."""
        plain = (self._row(right, Because, self._because(right)) for right in _TOLD if right in _PLAIN)
        targeted = (self._row(right, OfTarget, self._of_target(right)) for right in (Right.APPROVE, Right.RELEASE))
        setting = replace(self._row(Right.SET, Definition, self._set), body_bytes_max=DEFINITION_BYTES_MAX)
        return [*plain, *targeted, setting, self._row(Right.SHARE, Share, self._share)]

    def _row(self, right: Right, body: type[Struct], handle: Handle) -> Route:
        route = posting(f"/flags/{{set}}/{{flag}}/{right}", right, _TOLD[right], handle, body)
        return replace(route, conditional=right not in HOLDS_WHATEVER)

    def _because(self, right: Right) -> Handle:
        async def handle(call: Call) -> Reply:
            return await self._ask(call, Wish(verb=Verb(right), reason=call.body.reason))

        return handle

    def _of_target(self, right: Right) -> Handle:
        async def handle(call: Call) -> Reply:
            return await self._ask(call, Wish(verb=Verb(right), reason=call.body.reason, target=call.body.target))

        return handle

    async def _set(self, call: Call) -> Reply:
        body: Definition = call.body
        change = FlagChange(spec=body.spec, ramp=body.ramp)
        return await self._ask(call, Wish(verb=Verb.SET, reason=body.reason, flag=change))

    async def _share(self, call: Call) -> Reply:
        body: Share = call.body
        return await self._ask(call, Wish(verb=Verb.SHARE, reason=body.reason, weight=body.weight))

    async def _ask(self, call: Call, wish: Wish) -> Reply:
        return await self._asks.ask(call, named(call.path), wish)


_TOLD = {
    Right.KILL: "Give everyone the kill variant, now, whatever the rules say",
    Right.RESTORE: "Bring back what was there before a kill or a switch-off",
    Right.PAUSE: "Stop the ramp where it is; judgement and switch-off go on",
    Right.RESUME: "Go on with a paused ramp, its stage anew",
    Right.PROMOTE: "End the bake or answer the gate of this stage; never overrules a fail",
    Right.ABORT: "End the change: what was there before it is for everyone again",
    Right.ARCHIVE: "Give everyone the safe variant for good; the name is never used again",
    Right.APPROVE: "Approve of a change that somebody else wants",
    Right.RELEASE: "Take a definition out of quarantine, where a switch-off put it",
    Right.SET: "Want another definition, by the stages of its ramp where it is not toward safe",
    Right.SHARE: "Lower the share at once, or bring it back to what its stages have given",
}
_PLAIN = frozenset(_TOLD) - {Right.APPROVE, Right.RELEASE, Right.SET, Right.SHARE}


__all__ = ["FlagWrites"]
