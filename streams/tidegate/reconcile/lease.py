"""How long a node trusts the silence of its author: what is settled stays for ever, what is on trial has a lease.

A node that has not heard the author for a minute takes no further advance. A plan may say that a node which has heard nothing for
a while leaves a version on trial (``lease``); otherwise it holds it. Time is the node's own monotonic clock since it *read* a
heartbeat, so that neither a wrong clock nor an old record that stands in the log again lengthens a lease.

A heartbeat also tells whether all was heard (E4): its digest is over the commands of its epoch, all of which its author has
appended to the same partition before it. So it is compared with what was read before it, and with nothing that came later: who
follows the log in order never differs, and a record that was withheld, or evicted before one began to read, shows (TUF: freeze
and mix-and-match). Who differs goes forward in nothing, be it an advance or what it missed before, until a later heartbeat
agrees, 3 s later where nothing is wrong; it keeps what it runs, and goes back when told. Nobody has to be asked, and what is said
between two heartbeats is done at once.
"""

from msgspec import Struct
from msgspec.structs import replace

from tidegate.reconcile.held import Accepted, same
from tidegate.reconcile.target import Target, is_advance
from tidegate.wire.names import duration_ms

STALE_MS = 60_000
"""A heartbeat is due every 3 s, and another author takes over within 15 s."""


class Pulse(Struct, frozen=True, kw_only=True):
    """What a node hears of its author."""

    silent_ms: int = 0
    """Since a heartbeat was read; before the first one, since the agent began."""
    heard: bool = True
    """Whether one was read as it came: the one that stands in the log at the start may be of yesterday."""

    agrees: bool = True
    """Whether what was read before the last heartbeat is what its author stands for."""

    @property
    def fresh(self) -> bool:
        """Whether an advance may be applied."""
        return self.heard and self.silent_ms <= STALE_MS


BEATING = Pulse()


def leased(target: Target, accepted: Accepted | None, pulse: Pulse) -> Target:
    """Return what a node owes when its lease is considered: without one that holds, a version on trial is left."""
    plan = accepted.plan if accepted is not None else None
    if accepted is None or plan is None or plan.lease is None or plan.rollback is None or target.artifact is None:
        return target
    on_trial = is_advance(accepted, target.artifact) and not same(accepted.document.settled, target.artifact)
    if not on_trial or pulse.silent_ms < duration_ms(plan.lease):
        return target
    return replace(target, artifact=plan.rollback.artifact, token="")
