"""What stands on the topic ``flags`` now: verified as every service verifies it, the highest order of each key."""

from tidegate.cli.session import Session
from tidegate.flagfeed import Held
from tidegate.flags.store import Flags, FlagSet
from tidegate.wire.flagstamps import HEADER


class Published:
    """The flags of one set as a service sees them. ``values`` are by name, ``$evaluators`` and ``$metadata`` among them."""

    def __init__(self, set_id: str, held: Held, flags: Flags) -> None:
        self.flags: FlagSet = flags.sets.get(set_id) or FlagSet(set_id)
        self.values = {key.partition("/")[2]: one.value for key, one in held.kept.items() if one.value is not None}
        self.refused = sum(held.refused.values())
        """Records that nobody entitled stands for, or that cannot be read."""


async def read_published(here: Session, set_id: str) -> Published:
    """Return what is published of a set, read to an end captured now. The session has read ``keys``."""
    flags = Flags()
    held = Held(here.model.trust, flags.put, frozenset({set_id}))
    reader = await here.log.reader(["flags"])
    try:
        for record in await reader.read_to_end():
            held.take(record.key, record.value, record.headers.get(HEADER))
    finally:
        await reader.close()
    return Published(set_id, held, flags)
