"""From the topic ``experiments`` to what is known of each."""

import contextlib

from tidegate.cli.session import Session
from tidegate.experiments.pooled import Counted
from tidegate.model.experiments import Known, known
from tidegate.wire.codec import Malformed
from tidegate.wire.experiments import sums_of


async def read_experiments(here: Session) -> list[Known]:
    """Return the experiments that are declared, or counted and once declared, by name. The session has read ``decisions``."""
    counted = Counted()
    reader = await here.log.reader(["experiments"])
    try:
        for record in await reader.read_to_end():
            with contextlib.suppress(Malformed):
                counted.see(sums_of(record.value or b""))
    finally:
        await reader.close()
    return known(here.model, counted.pooled())
