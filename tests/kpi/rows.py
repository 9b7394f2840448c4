"""Rows for tests: a strategy, and a short way to write one."""

from hypothesis import strategies as st

from tidegate.kpi.buckets import slot_of
from tidegate.kpi.columns import RowWriter
from tidegate.wire.nodeseconds import NodeSeconds
from tidegate.wire.telemetry import HISTOGRAM_OFFSET, Histogram, ServiceState, Source, Telemetry

T0 = 1_700_000_000_000
PARTITIONS = 12


def row(node="n1", seq=1, second=0, **fields):
    fields = {"service": "shop", "boot": "b1", "version": "v1", "start_ms": T0 + second * 1_000} | fields
    return Telemetry(node=node, seq=seq, **fields)


def histogram(*seconds):
    slots = [slot_of(value) for value in seconds]
    first = min(slots)
    counts = [0] * (max(slots) - first + 1)
    for slot in slots:
        counts[slot - first] += 1
    return Histogram(HISTOGRAM_OFFSET + first, counts)


def record(rows, mark_second=None, *, late_ms=300) -> NodeSeconds:
    """One record of nodeseconds: rows appended ``late_ms`` after their end, then one mark for all partitions."""
    writer = RowWriter()
    for one in rows:
        writer.add(one, one.start_ms + one.length_ms + late_ms)
    marks = {} if mark_second is None else dict.fromkeys(range(PARTITIONS), T0 + int(mark_second * 1_000))
    return writer.flush(marks)


def idle(last: int, first: int = 1) -> list[NodeSeconds]:
    """Marks alone, a second apart, as time passes in a fleet that says nothing."""
    return [record([], second) for second in range(first, last + 1)]


@st.composite
def fleet_rows(draw, nodes=4, seconds=6):
    """Every node's rows of some seconds, with differing numbers."""
    rows = []
    for node in range(draw(st.integers(1, nodes))):
        boot = f"b{node}"
        for second in range(seconds):
            if draw(st.integers(0, 9)) == 0:
                continue
            # Now and then a second life of the process in the same second.
            lives = range(draw(st.sampled_from([1, 1, 1, 2])))
            rows += [_telemetry(draw, node, second, f"{boot}.{life}") for life in lives]
            if draw(st.booleans()):
                rows.append(
                    row(
                        f"n{node}",
                        seq=second + 1,
                        second=second,
                        boot=f"agent{node}",
                        source=Source.AGENT,
                        state=ServiceState.READY,
                    )
                )
    return rows


def _telemetry(draw, node, second, boot):
    requests = draw(st.integers(0, 50))
    return row(
        f"n{node}",
        seq=second + 1,
        second=second,
        boot=boot,
        requests=requests,
        errors=draw(st.integers(0, requests)),
        latency=histogram(*([0.01 * (1 + node)] * requests)) if requests else None,
        gauges={"queue": draw(st.floats(-1e6, 1e6))},
        counters={"orders": draw(st.integers(0, 3))},
        ratios={"cache": (draw(st.integers(0, 3)), 3)},
        version=draw(st.sampled_from(["v1", "v1", "v2"])),
        source=draw(st.sampled_from([Source.SDK, Source.SDK, Source.OTLP])),
    )
