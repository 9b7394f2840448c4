"""Who is the author: a fold of claims and heartbeats in the order of ``desired`` (E2, E3). No clock, no socket.

The first claim for an epoch in log order wins it; a higher epoch makes every lower one void. Documents that are not signed by a
decision key do not reach this fold.
"""

from msgspec import Struct
from msgspec.structs import replace

from tidegate.wire.documents import Claim, Heartbeat


class Leadership(Struct, frozen=True, kw_only=True):
    """What the log says about authorship so far."""

    epoch: int = 0
    life: str = ""
    """The life that won the highest epoch."""
    heard_ms: int = 0
    """Append time of the author's last claim or heartbeat."""
    resigned: bool = False

    def silent_ms(self, now_ms: int) -> int:
        """Return for how long nothing was heard of the author."""
        return now_ms - self.heard_ms


def claimed(leadership: Leadership, claim: Claim, at_ms: int) -> Leadership:
    """Return what a claim changes: nothing, unless it is the first for a higher epoch."""
    if claim.epoch <= leadership.epoch:
        return leadership
    return Leadership(epoch=claim.epoch, life=claim.life, heard_ms=at_ms)


def heard(leadership: Leadership, heartbeat: Heartbeat, at_ms: int) -> Leadership:
    """Return what a heartbeat changes: nothing, unless it is the author's own."""
    if (heartbeat.epoch, heartbeat.life) != (leadership.epoch, leadership.life):
        return leadership
    return replace(leadership, heard_ms=max(at_ms, leadership.heard_ms), resigned=heartbeat.resigned)


def may_claim(leadership: Leadership, now_ms: int, takeover_ms: int) -> bool:
    """Return whether the place is free: nobody ever claimed, the author resigned, or it has been silent for too long."""
    return not leadership.epoch or leadership.resigned or leadership.silent_ms(now_ms) >= takeover_ms
