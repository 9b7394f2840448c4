"""Who is the author: a fold of claims and heartbeats in the order of ``desired`` (E2, E3). No clock, no socket.

The first claim for an epoch in log order wins it; a higher epoch makes every lower one void. Documents that are not signed by a
decision key do not reach this fold. Silence is counted on the reader's own monotonic clock, from when it read the author's last
word: clocks of two machines are never compared, so a wrong one cannot take the place from a living author.
"""

from msgspec import Struct
from msgspec.structs import replace

from tidegate.wire.documents import Claim, Heartbeat


class Leadership(Struct, frozen=True, kw_only=True):
    """What the log says about authorship so far."""

    epoch: int = 0
    life: str = ""
    """The life that won the highest epoch."""
    heard_s: float = 0.0
    """The reader's monotonic clock when it read the author's last claim or heartbeat."""
    resigned: bool = False

    def silent_s(self, now_s: float) -> float:
        """Return for how long nothing was heard of the author, in seconds of the reader's monotonic clock."""
        return now_s - self.heard_s


def claimed(leadership: Leadership, claim: Claim, read_s: float) -> Leadership:
    """Return what a claim changes: nothing, unless it is the first for a higher epoch."""
    if claim.epoch <= leadership.epoch:
        return leadership
    return Leadership(epoch=claim.epoch, life=claim.life, heard_s=read_s)


def heard(leadership: Leadership, heartbeat: Heartbeat, read_s: float) -> Leadership:
    """Return what a heartbeat changes: nothing, unless it is the author's own."""
    if (heartbeat.epoch, heartbeat.life) != (leadership.epoch, leadership.life):
        return leadership
    return replace(leadership, heard_s=max(read_s, leadership.heard_s), resigned=heartbeat.resigned)


def may_claim(leadership: Leadership, now_s: float, takeover_s: float) -> bool:
    """Return whether the place is free: nobody ever claimed, the author resigned, or it has been silent for too long."""
    return not leadership.epoch or leadership.resigned or leadership.silent_s(now_s) >= takeover_s
