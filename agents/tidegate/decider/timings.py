"""How long the decision agent waits for what."""

from msgspec import Struct


class Timings(Struct, frozen=True, kw_only=True):
    """Seconds. A successor claims after three missed heartbeats (E3)."""

    heartbeat_s: float = 3.0
    takeover_s: float = 9.0
    context_s: float = 10.0
    """A judge that has lost its state knows who belongs where after this at the latest (C7)."""
    poll_s: float = 0.5
    """How long one look for news waits; news end it at once."""
    tick_s: float = 1.0
    """Without any news every subject is looked at this often."""
    retry_s: float = 0.5
    """Pause after a send without an answer."""
