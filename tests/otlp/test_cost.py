"""What conversion costs, printed and not judged: a machine's speed is no rule."""

import time

import pytest
from tests.otlp.stock import DELTA, EXPLICIT, EXPONENTIAL, Service, as_json

from tidegate.bridge.decode import Encoding, decode
from tidegate.otlp import fold
from tidegate.otlp.sorting import sort
from tidegate.wire.otlp import decode as unpack
from tidegate.wire.otlp import encode as pack
from tidegate.wire.telemetry import encode_msgpack

MESSAGES = 1_000


def exports(temporality, histogram) -> list[bytes]:
    """Return what a process of eight routes sends, and what else it measures, 20 times."""
    service, found = Service(temporality, histogram), []
    for number in range(20):
        for at in range(80):
            service.request(0.001 * (at + number), 500 if at % 16 == 0 else 200, http_route=f"/r{at % 8}")
        for at in range(10):
            service.meter.create_counter(f"other{at}").add(1, {"a": str(at)})
        found.append(service.export())
    service.close()
    return found


@pytest.mark.parametrize("kind", ["cumulative-explicit", "delta-exponential"])
def test_what_a_message_costs(kind, say):
    messages = exports(*{"cumulative-explicit": (None, EXPLICIT), "delta-exponential": (DELTA, EXPONENTIAL)}[kind])
    costs_s, sizes = {}, {}
    for encoding, bodies in ((Encoding.PROTO, messages), (Encoding.JSON, [as_json(one) for one in messages])):
        sizes[encoding] = sum(map(len, bodies)) // len(bodies)
        began_s = time.process_time()
        for number in range(MESSAGES):
            sort(decode(bodies[number % len(bodies)], encoding))
        costs_s[encoding] = (time.process_time() - began_s) / MESSAGES
    sorted_out = [pack(sort(decode(one, Encoding.PROTO)).exports[0]) for one in messages]
    counted, rows, began_s = 0, 0, time.process_time()
    for _ in range(MESSAGES // len(messages)):
        begin_s = sort(decode(messages[0], Encoding.PROTO)).exports[0].end_ns // 10**9
        state = fold.State(since_ms=(begin_s - 60) * 1_000, done_s=begin_s - 1)
        for at, one in enumerate(sorted_out):
            fold.take(state, unpack(one), (begin_s + at) * 1_000)
            rows += sum(len(encode_msgpack(row)) > 0 for row in fold.rows(state, begin_s + at))
        counted += state.results["counted"]
    costs_s["fold"] = (time.process_time() - began_s) / MESSAGES
    told = ", ".join(f"{name} {cost_s * 1e6:.0f} us ({1 / cost_s:,.0f}/s)" for name, cost_s in costs_s.items())
    said = f"{sizes[Encoding.PROTO]} B protobuf, {sizes[Encoding.JSON]} B JSON; sorted out, and folded to rows: {told}"
    say(f"{kind}, a message of 16 series, {said}")
    assert counted > MESSAGES
    assert rows >= MESSAGES
