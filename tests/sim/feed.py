"""The rows of a run as records of ``nodeseconds``, as intake would write them: for the real fold, without a broker."""

from collections.abc import Iterator

import numpy as np

from tidegate.kpi.columns import RowWriter
from tidegate.sim import Run, Senders, Sent
from tidegate.wire.nodeseconds import Context, Record
from tidegate.wire.topics import TELEMETRY_PARTITIONS

FLUSH_AFTER_MS = 500


def records(run: Run, seconds: int, prelude: bool = True) -> Iterator[tuple[int, Record]]:
    """Yield (append time, record) of the prelude and of some seconds of the rollout."""
    senders = Senders(run.episode.world, run.fleet.skew_ms.tolist(), np.random.default_rng(1))
    writer, waiting = RowWriter(), list[Sent]()
    stretches = [*([run.prelude_blocks()] if prelude else []), ((run.cast, block) for block in run.blocks(seconds))]
    known: Context | None = None
    for cast, block in (pair for stretch in stretches for pair in stretch):
        context = run.context(cast, block)
        waiting += senders.rows(block)
        for at in range(len(block)):
            now_ms = block.start_ms + 1_000 * (at + 1) + FLUSH_AFTER_MS
            if context != known and (at or known is None):  # the second before it is closed by now, and the first one is not
                known = context
                yield now_ms, context
            due = [sent for sent in waiting if sent.append_ms < now_ms]
            waiting = [sent for sent in waiting if sent.append_ms >= now_ms]
            for sent in sorted(due, key=lambda sent: sent.append_ms):
                writer.add(sent.row, sent.append_ms)
            yield now_ms, writer.flush(dict.fromkeys(range(TELEMETRY_PARTITIONS), now_ms))
