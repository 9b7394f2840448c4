"""What the judge remembers of a service: its newest checkpoint that can be read, taken from the log as a successor would."""

import asyncio
from collections.abc import Sequence

from aiokafka.errors import KafkaError
from msgspec import Struct

from tidegate.cli.connect import connection, insist
from tidegate.detect.drift.state import Drift
from tidegate.judge import restore
from tidegate.runtime.home import Home
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed
from tidegate.wire.names import service_subject
from tidegate.wire.partition import partition_of
from tidegate.wire.topics import BY_NAME
from tidegate.worker import checkpoints
from tidegate.worker.checkpoints import Checkpoint
from tidegate.worker.judge import CHECKPOINT_EVERY_S, ROLE

SOURCE = "nodeseconds"
LOAD_WITHIN_S = 20.0
"""The client waits for a topic that is not there much longer, and longer for each partition."""


class Remembered(Struct, frozen=True, kw_only=True):
    """What the judge knew of a service at ``at_ms`` on its own clock, when it had folded everything before ``offset``."""

    drift: Drift
    at_ms: int
    partition: int
    offset: int


async def remembered(home: Home, service: str) -> Remembered:
    """Return what the judge remembers of a service. Problem where there is no broker, checkpoint or such service."""
    partition = partition_of(service, BY_NAME[SOURCE].partitions)
    return drift_in(await load(home, partition), service, partition)


async def load(home: Home, partition: int) -> Sequence[Checkpoint]:
    """Return the newest checkpoints of a partition, newest first. Problem where no broker answers or the topic cannot be read."""
    where = connection(home)
    await insist(where)
    try:
        async with asyncio.timeout(LOAD_WITHIN_S):
            found = await checkpoints.load(where, ROLE, SOURCE, {partition})
    except (KafkaError, TimeoutError) as error:
        why = str(error) or f"no answer within {LOAD_WITHIN_S:g} s"
        raise Problem(f"the topic {where.prefix}checkpoints cannot be read: {why}", "see: tidegate topics check") from error
    return found.get(partition, [])


def drift_in(candidates: Sequence[Checkpoint], service: str, partition: int) -> Remembered:
    """Return what the first checkpoint that can be read says of a service. Problem where none can, or none knows it."""
    if not candidates:
        raise Problem(
            f"there is no checkpoint of partition {partition} yet, in which {service} is judged",
            f"wait {CHECKPOINT_EVERY_S:g} s; does a judge run? Start it: tidegate up, or tidegate worker judge",
        )
    faults = []
    for checkpoint in candidates:
        try:
            state = restore(checkpoints.unpack(checkpoint), partition)
        except Malformed as fault:
            faults.append(f"offset {checkpoint.offset}: {fault}")
            continue
        subject = state.subjects.get(service_subject(service))
        if subject is None:
            raise Problem(
                f"the judge has heard nothing of a service {service} (partition {partition}, up to offset {checkpoint.offset})",
                "does it publish, and is its name right? See: tidegate fleet list",
            )
        return Remembered(drift=subject.drift, at_ms=state.clock.now_ms or 0, partition=partition, offset=checkpoint.offset)
    raise Problem(
        f"no checkpoint of partition {partition} can be read here, in which {service} is judged",
        "use tidegate of the version that the judge runs",
        details=tuple(faults),
    )
