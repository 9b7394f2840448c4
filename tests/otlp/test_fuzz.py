"""Bodies that are nearly right: whatever comes, it is a request, or it is Malformed; and what counts is never nonsense."""

import random
from collections import Counter

from tests.otlp.stock import DELTA, DURATION, EXPLICIT, EXPONENTIAL, Service, as_json

from tidegate.bridge.decode import Encoding, decode
from tidegate.otlp import fold
from tidegate.otlp.sorting import sort
from tidegate.wire.codec import Malformed
from tidegate.wire.otlp import decode as unpack
from tidegate.wire.otlp import encode as pack
from tidegate.wire.telemetry import check, encode_msgpack
from tidegate.wire.telemetry import decode as row_of

BODIES = 20_000
WORDS = [
    b"null",
    b"-1",
    b'""',
    b"[]",
    b"{}",
    b"1e999",
    b'"NaN"',
    b"true",
    b"18446744073709551616",
    DURATION.encode(),
    b"\xff",
    b"\0",
]


def seeds() -> list[tuple[Encoding, bytes]]:
    found = []
    for temporality in (None, DELTA):
        for histogram in (EXPLICIT, EXPONENTIAL):
            service = Service(temporality, histogram)
            for number in range(9):
                service.request(0.01 * number, 503 if number % 5 == 0 else 200)
            service.meter.create_up_down_counter("http.server.active_requests").add(3)
            service.meter.create_counter("other").add(3, {"a": ["x", "y"]})
            data = service.export()
            service.close()
            found += [(Encoding.PROTO, data), (Encoding.JSON, as_json(data))]
    return found


def broken(rng: random.Random, body: bytes) -> bytes:
    """Flip, cut, repeat, or put something odd in place of something else."""
    data = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data)) if data else 0
        upto = min(len(data), at + rng.choice((1, 2, 8, 60)))
        match rng.randrange(5):
            case 0:
                data[at:upto] = bytes(rng.randrange(256) for _ in range(upto - at))
            case 1:
                del data[at:upto]
            case 2:
                data[at:at] = data[at:upto] * rng.choice((1, 1, 40))
            case 3:
                data[at:upto] = rng.choice(WORDS)
            case _:
                if data:
                    data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


def test_whatever_comes_is_a_request_or_malformed(say):
    rng, began = random.Random(8), seeds()
    begin_ms = sort(decode(began[-1][1], Encoding.JSON)).exports[0].end_ns // 1_000_000
    state = fold.State(since_ms=begin_ms - 10_000, done_s=begin_ms // 1_000 - 1)
    became: Counter[str] = Counter()
    for number in range(BODIES):
        encoding, body = rng.choice(began)
        append_ms = begin_ms + number * 3 // 2  # within the minute in which what is measured counts
        if number % 500 == 0:
            for row in fold.rows(state, append_ms // 1_000 - 1):
                check(row_of(encode_msgpack(row)))  # rows are what intake takes
                became["rows"] += 1
        try:
            found = sort(decode(broken(rng, body), encoding))
        except Malformed:
            became["malformed"] += 1
            continue
        became["refused in part" if found.rejected else "whole"] += 1
        for one in found.exports:
            fold.take(state, unpack(pack(one)), append_ms)
    say(f"{BODIES} fuzzed bodies: {dict(became)}; points: {dict(state.results)}")
    assert min(became["malformed"], became["whole"], became["refused in part"], became["rows"]) > 100
    assert state.results["counted"] > 100
