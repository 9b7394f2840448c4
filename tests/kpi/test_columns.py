import msgspec
import numpy as np
import pytest
from hypothesis import given
from tests.kpi.rows import fleet_rows, record, row

from tidegate.kpi.columns import read
from tidegate.wire.codec import Malformed
from tidegate.wire.nodeseconds import SOURCES, decode, encode
from tidegate.wire.telemetry import HISTOGRAM_OFFSET, HISTOGRAM_SLOTS


@given(fleet_rows())
def test_rows_come_back_as_they_went_in(rows):
    columns = read(decode(encode(record(rows, 9))))
    assert len(columns) == len(rows)
    at, counts = columns.flat(np.arange(len(rows)), np.arange(len(rows)) * HISTOGRAM_SLOTS)
    table = np.bincount(at, counts, len(rows) * HISTOGRAM_SLOTS).reshape(-1, HISTOGRAM_SLOTS)
    for index, one in enumerate(rows):
        names = columns.record
        assert names.nodes[columns.node[index]] == one.node
        assert names.services[columns.service[index]] == one.service
        assert names.boots[columns.boot[index]] == one.boot
        assert names.versions[columns.version[index]] == one.version
        assert SOURCES[columns.sources[index]] is one.source
        assert (columns.requests[index], columns.errors[index], columns.seq[index]) == (one.requests, one.errors, one.seq)
        assert table[index].sum() == one.requests
        if one.latency is not None:
            first = one.latency.offset - HISTOGRAM_OFFSET
            assert table[index][first : first + len(one.latency.counts)].tolist() == one.latency.counts
        if one.gauges:
            assert names.extras[index].gauges == one.gauges


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"seq": b"123"}, "seq"),
        ({"seq": b""}, "seq"),
        ({"node": b"\xff\xff\xff\x00"}, "node"),
        ({"slots": b"\xff"}, "slots"),
        ({"counts": b"\x01\x00"}, "counts"),
        ({"sources": b"\x63"}, "sources"),
    ],
)
def test_torn_columns_are_refused_by_name(change, path):
    torn = msgspec.structs.replace(record([row()]), **change)
    with pytest.raises(Malformed) as raised:
        read(torn)
    assert raised.value.path == path
