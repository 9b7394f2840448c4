import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.wire.codec import Malformed
from tidegate.wire.nodeseconds import CohortMembers, Context, Extra, NodeSeconds, decode, encode
from tidegate.wire.plans import Guardrail
from tidegate.wire.telemetry import ServiceState

CONTEXT = Context(
    subject="svc/shop",
    service="shop",
    epoch=2,
    generation=7,
    placement="p",
    rollout="r.1",
    cohorts=(CohortMembers(name="canary", version="v2", nodes=("n1",)),),
    rest_version="v1",
    guardrails=(Guardrail(metric="p95", max_ratio_to_control=1.3),),
)
ROWS = NodeSeconds(marks={3: 5}, services=["shop"], counts_width=4, extras={0: Extra(zone="a", state=ServiceState.READY)})


@pytest.mark.parametrize("record", [CONTEXT, ROWS, NodeSeconds()], ids=["context", "rows", "nothing"])
def test_rows_marks_and_contexts_are_told_apart_by_their_tag(record):
    assert decode(encode(record)) == record


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"kind": "else"},
        {"kind": "rows", "counts_width": 8},
        {"kind": "rows", "services": ["a b"]},
        {"kind": "rows", "nodes": ["a" * 129]},
        {"kind": "rows", "seq": "text"},
        {"kind": "context", "subject": "shop", "service": "shop", "epoch": 1, "generation": 1},
    ],
)
def test_anything_else_is_malformed(plain):
    with pytest.raises(Malformed):
        decode(msgspec.msgpack.encode(plain))


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_but_malformed(data):
    try:
        decode(data)
    except Malformed:
        return
