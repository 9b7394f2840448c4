"""Where each compared node stands: reporting, changing, mute or gone. Seconds are counted in panes, on no one's clock.

Presence is read from rows alone: telemetry of the version that the node's cohort runs, and the node agent's liveness rows (A5).
"""

from enum import Enum, auto

from msgspec import Struct
from msgspec.structs import replace

from tidegate.kpi.pane import NodePane
from tidegate.wire.telemetry import ServiceState

OWN_CHANGE_MS = 60_000
"""So long after its own change a node answers for itself (C6)."""
GRACE_MS = 7_000
"""A node that has not spoken since its release or its restart gets this on top of the 3 s, since a process first has to come
up."""
BLURRED_MS = 10_000
"""So long after a late row, or one of a wrong clock, it is still spoken of."""
AGENT_MS = 3_000
"""Without an agent row for so long, the agent is silent too."""


class Watch(Struct, frozen=True, array_like=True):
    """What has been seen of one node as a member of one cohort. Times are ends of panes in ms, 0: never."""

    cohort: str
    version: str
    joined_ms: int
    telemetry_ms: int = 0
    agent_ms: int = 0
    ready_ms: int = 0
    """Since when its agent says that the right version is ready."""
    changed_ms: int = 0
    exits: int = 0
    state: ServiceState | None = None
    running: str = ""
    """The version that its agent named last."""
    requests: int = 0
    """In this placement, of the right version."""
    errors: int = 0
    late_ms: int = 0
    """End of the last pane in which rows of it came too late to count."""
    skewed_ms: int = 0
    """End of the last pane in which its clock was wrong (A4)."""


class Presence(Enum):
    """What a node is doing."""

    REPORTING = auto()
    CHANGING = auto()
    """Released and not yet ready, draining, starting: silence means nothing yet."""
    MUTE = auto()
    """Its agent says that the service runs, but no telemetry comes."""
    GONE = auto()
    """Neither speaks, or the agent says that it does not run."""
    BLURRED = auto()
    """Its rows come, but too late to count, or of no known second."""


class Silence(Struct, frozen=True):
    """A node's presence, and for how long it has been silent in ms, any grace taken off."""

    presence: Presence
    silent_ms: int = 0


def watch(
    before: Watch | None,
    cohort: tuple[str, str],
    row: NodePane | None,
    end_ms: int,
    *,
    late: bool = False,
    skewed: bool = False,
) -> Watch:
    """Return what is known of a node after a pane. ``cohort`` is (name, version); in another one a node begins anew.

    ``late``: rows of it came too late in this pane; ``skewed``: its clock is wrong.
    """
    name, version = cohort
    old = before if before is not None and (before.cohort, before.version) == cohort else Watch(name, version, end_ms)
    if late or skewed:
        old = replace(old, late_ms=end_ms if late else old.late_ms, skewed_ms=end_ms if skewed else old.skewed_ms)
    if row is None:
        return old
    telemetry = row.telemetry
    agent, ready_ms = row.agent, old.ready_ms
    state = row.state if agent else old.state
    if agent:
        ready = state is ServiceState.READY and row.version in {"", version}
        again = row.changed_ms != old.changed_ms or old.ready_ms == 0
        ready_ms = (end_ms if again else old.ready_ms) if ready else 0
    return Watch(
        cohort=name,
        version=version,
        joined_ms=old.joined_ms,
        telemetry_ms=end_ms if telemetry else old.telemetry_ms,
        agent_ms=end_ms if agent else old.agent_ms,
        ready_ms=ready_ms,
        changed_ms=row.changed_ms if agent else old.changed_ms,
        exits=row.exits if agent else old.exits,
        state=state,
        running=row.version if agent else old.running,
        requests=old.requests + (row.requests if telemetry else 0),
        errors=old.errors + (row.errors if telemetry else 0),
        late_ms=old.late_ms,
        skewed_ms=old.skewed_ms,
    )


def fresh(seen: Watch, now_ms: int) -> bool:
    """Return whether a node is within 60 s of its own change."""
    return seen.changed_ms > 0 and now_ms - seen.changed_ms <= OWN_CHANGE_MS


def silence(seen: Watch, now_ms: int) -> Silence:
    """Return where a node stands at the end of a pane."""
    if seen.telemetry_ms == now_ms:
        return Silence(Presence.REPORTING)
    if max(seen.late_ms, seen.skewed_ms) > max(now_ms - AGENT_MS, seen.changed_ms, seen.telemetry_ms):
        return Silence(Presence.BLURRED)
    since_ms = max(seen.telemetry_ms, seen.joined_ms)
    if not seen.agent_ms or now_ms - seen.agent_ms >= AGENT_MS:
        grace = 0 if seen.telemetry_ms > max(seen.changed_ms, seen.joined_ms) else GRACE_MS
        return Silence(Presence.GONE, now_ms - max(since_ms, seen.agent_ms) - grace)
    if seen.ready_ms:
        grace = 0 if seen.telemetry_ms > seen.ready_ms else GRACE_MS
        return Silence(Presence.MUTE, now_ms - max(since_ms, seen.ready_ms) - grace)
    other = seen.running not in {"", seen.version}
    coming = seen.telemetry_ms <= seen.changed_ms or fresh(seen, now_ms)
    if other or (coming and seen.state is not ServiceState.FAILED):
        return Silence(Presence.CHANGING)
    return Silence(Presence.GONE, now_ms - since_ms)
