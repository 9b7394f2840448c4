"""Telemetry by a grammar: what producers send, and what broken, foreign and hostile ones might.

A message is sound, or sound at the very edge of what is allowed, or a sound document of which one part was exchanged for another
that the syntax allows, or bytes that were cut, bent or mixed, or no message at all. In both encodings.
"""

import random
from collections.abc import Callable
from typing import Any

import msgspec

from tidegate.wire.telemetry import (
    COUNT_MAX,
    FIELDS_MAX,
    GAUGE_MAX,
    SLICES_MAX,
    Histogram,
    ServiceState,
    Slice,
    Source,
    Telemetry,
    encode_json,
    encode_msgpack,
)

Pairs = list[tuple[bytes, bytes]]
"""A document taken apart: encoded names and encoded values, in order."""

NODES, SERVICES = 40, 7
HUGE_EVERY = 20_000
"""One message in so many is larger than is read at all."""
SKEWS_MS = (-3_600_000, -301_000, -299_000, -61_000, -2_500, -1_999, 1_999, 2_500, 61_000, 301_000, 3_600_000)

JSON_TOKENS = [
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e308",
        b"-1e308",
        b"1e309",
        b"1e999",
        b"5e-324",
        b"-0",
        b"-0.0",
        b"-1",
        b"0.5",
        b"01",
    ),
    *(b"2147483648", b"4294967295", b"9007199254740993", b"18446744073709551616", b"9" * 400, b"0x10", b"1_000", b"+1"),
    *(b"null", b"true", b"{}", b"[]", b"[[]]", b"[null]", b'[1,"a"]', b'{"":{}}', b'""', b'"7"', b"''", b"undefined"),
    *(b'"\\ud800"', b'"\\udfff\\ud800"', b'"\xed\xa0\x80"', b'"\xff\xfe"', b'"\xc0\xaf"', b'"\\u0000"', b'"\x00"', b'"a\x01b"'),
    *(b'"\\u202ename"', b'"a\\n"', b'"a b"', b'"../../etc/passwd"', b'"-a"', b'"%s"' % (b"n" * 129), b'"%s"' % (b"x" * 5_000)),
    *(b"[" * 3_000 + b"]" * 3_000, b'{"a":' * 2_000 + b"1" + b"}" * 2_000, b"[" * 3_000, b'"', b"[1,", b'{"a"', b"/*1*/ 1"),
    *(
        b'{"offset":-81,"counts":[1]}',
        b'{"offset":79,"counts":[1,1]}',
        b'{"offset":0,"counts":[NaN]}',
        b'{"offset":0,"counts":[-1]}',
    ),
    *(b'{"offset":0,"counts":"AgEA"}', b'{"offset":0}', b'{"offset":1e1,"counts":[1e0]}', b'{"counts":[],"offset":-80}'),
    *(b'{"load":1e101}', b'{"load":1e400}', b'{"load":null}', b'{"a":[2,1]}', b'{"a":[1]}', b'{"a":[1,2,3]}', b'{"":0}'),
    *(b'{"r":{"requests":1,"errors":2}}', b'{"r":{"latency":{"offset":0,"counts":[2147483648]}}}', b'{"r":1}'),
    b"{%s}" % b",".join(b'"g%d":1' % number for number in range(FIELDS_MAX + 1)),
    b"{%s}" % b",".join(b'"g%d":{}' % number for number in range(SLICES_MAX + 1)),
    b'{"%s":1}' % (b"l" * 257),
]
MSGPACK_TOKENS = [
    *(b"\xcb\x7f\xf8" + bytes(6), b"\xcb\x7f\xf0" + bytes(6), b"\xca\x7f\x80\x00\x00", b"\xcb\x7f\xe1\xcc\xf3\x85\xeb\xc8\xa0"),
    *(b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xff", b"\xd0\x80", b"\xce\x80\x00\x00\x00", b"\xcb\x3f\xe0" + bytes(6)),
    *(
        b"\xc0",
        b"\xc1",
        b"\xc2",
        b"\xc3",
        b"\x80",
        b"\x90",
        b"\xa0",
        b"\xc4\x00",
        b"\xc4\x02ab",
        b"\xc5\xff\xff",
        b"\xc6\xff\xff\xff\xff",
    ),
    *(
        b"\xd4\x01a",
        b"\xd6\xff\x00\x00\x00\x01",
        b"\xc7\x0c\xff" + bytes(12),
        b"\xc9\xff\xff\xff\xff\x00",
        b"\xd8\x05" + bytes(16),
    ),
    *(
        b"\xa2\xff\xfe",
        b"\xa3\xed\xa0\x80",
        b"\xa1\x00",
        b"\xa2a\n",
        b"\xa3a b",
        b"\xd9\x81" + b"n" * 129,
        b"\xdb\xff\xff\xff\xff",
    ),
    *(
        b"\xda\x13\x88" + b"x" * 5_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdc\xff\xff",
        b"\x91" * 3_000 + b"\xc0",
    ),
    *(
        b"\x81\xa1a" * 2_000 + b"\xc0",
        b"\x81\xc0\xc0",
        b"\x81\x90\x01",
        b"\x81\xa4load\xcb\x7f\xf8" + bytes(6),
        b"\x82\xa1a\x01\xa1a\x02",
    ),
    *(
        msgspec.msgpack.encode({"offset": offset, "counts": counts})
        for offset in (-81, -80, 0, 79, 80)
        for counts in (b"", [1], [1, 2])
    ),
    *(
        msgspec.msgpack.encode({"offset": -80, "counts": counts})
        for counts in (
            b"\x02",
            b"\x02\x01",
            b"\x03\x01\x02\x03",
            b"\x04" + b"\xff" * 4,
            b"\x02" + bytes(322),
            b"\x04" + bytes(640),
            "x",
        )
    ),
    msgspec.msgpack.encode({f"g{number}": 1.0 for number in range(FIELDS_MAX + 1)}),
    msgspec.msgpack.encode({"l" * 257: 1}),
    msgspec.msgpack.encode({"r": {"requests": 1, "errors": 2}}),
    msgspec.msgpack.encode({"a": [2, 1]}),
]
NAMES = (
    b"",
    b"node",
    b"NODE",
    b"unknown",
    b"requests",
    b"a\xffb",
    b"\xed\xa0\x80",
    b"\x00",
    b"x" * 300,
    b"__proto__",
    b"latency.counts",
)
NOTHING: tuple[bytes | None, ...] = (
    *(
        None,
        b"",
        b" ",
        b"{}",
        b"null",
        b"[]",
        b"0",
        b'""',
        b"\xef\xbb\xbf{}",
        b"\x80",
        b"\xc1",
        b"\xc0",
        b"\x90",
        b"\xde\xff\xff",
    ),
    *(b"[" * 3_000, b'{"a":' * 3_000, b"\x91" * 3_000, b"\x81\xa1a" * 3_000, b"\xdf\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"),
)


class Grammar:
    """A source of messages; equal seeds and clocks give equal ones. ``now_ms`` is the second that sound rows are about."""

    def __init__(self, seed: int, now_ms: Callable[[], int]) -> None:
        self._random = random.Random(seed)
        self._now_ms = now_ms
        self._kinds = [self._sound] * 9 + [self._edge] * 2 + [self._exchanged] * 4 + [self._bent] * 4 + [self._nothing]
        self._pool = [[self._random.randrange(50) for _ in range(self._random.randrange(81))] for _ in range(200)]

    def message(self, number: int) -> bytes | None:
        """Return the next message; None is a tombstone."""
        if number % HUGE_EVERY == HUGE_EVERY - 1:
            return bytes(300_000)
        return self._random.choice(self._kinds)(number)

    # kinds

    def _sound(self, number: int) -> bytes:
        return self._encoded(self._row(number))

    def _edge(self, number: int) -> bytes:
        """Return a row that is allowed, if only just."""
        pick, row = self._random.choice, self._row(number)
        full = Histogram(-80, [COUNT_MAX - 1] * 160)
        edges: list[dict[str, Any]] = [
            {"start_ms": max(0, row.start_ms + pick(SKEWS_MS))},
            {"start_ms": pick((0, 1, (1 << 43) - 1)), "length_ms": pick((1, 60_000))},
            {"seq": pick((1, row.seq + 1, max(1, row.seq - 1), (1 << 53) - 1))},
            {"boot": f"b{self._random.randrange(1_000)}", "node": "n" * 128},
            {"requests": COUNT_MAX - 1, "errors": COUNT_MAX - 1, "latency": full, "dropped": COUNT_MAX - 1},
            {"latency": Histogram(79, [1])},
            {"latency": Histogram(-80, [])},
            {"gauges": {f"g{at}": pick((GAUGE_MAX, -GAUGE_MAX, 5e-324, -0.0)) for at in range(FIELDS_MAX)}},
            {
                "labels": {f"{at:0256}": "\u202e\x00\n" for at in range(FIELDS_MAX)},
                "zone": "z" * 256,
                "cohort": "\U0001f600" * 256,
            },
            {"ratios": {"": (0, 0), "whole": (COUNT_MAX - 1, COUNT_MAX - 1)}, "counters": {"\x00": COUNT_MAX - 1}},
            {"slices": {f"route=/{at}": Slice(requests=COUNT_MAX - 1, latency=full) for at in range(SLICES_MAX)}},
            {
                "source": Source.AGENT,
                "requests": 0,
                "errors": 0,
                "latency": None,
                "state": pick([*ServiceState]),
                "exits": pick((0, 3)),
            },
            {"source": pick((Source.OTLP, Source.SCRAPE, Source.PROBE)), "uptime_s": 1e308, "changed_ms": (1 << 43) - 1},
        ]
        return self._encoded(msgspec.structs.replace(row, **pick(edges)))

    def _exchanged(self, number: int) -> bytes:
        """Return a document of which one part was exchanged, doubled, renamed, left out or added."""
        binary = self._random.random() < 0.5
        pairs = _apart(self._row(number), binary=binary)
        at = self._random.randrange(len(pairs))
        name, value = pairs[at]
        token = self._random.choice(MSGPACK_TOKENS if binary else JSON_TOKENS)
        other = self._random.choice(NAMES)
        renamed = (bytes([0xD9, len(other)]) if len(other) < 256 else b"\xda\x01\x2c") + other if binary else b'"%s"' % other
        extent = len(pairs)
        match self._random.randrange(8):
            case 0:
                pairs.append((name, token))
            case 1:
                pairs.insert(0, (name, value))
            case 2:
                del pairs[at]
            case 3:
                pairs.append((renamed, token))
            case 4:
                pairs[at] = (renamed, value)
            case 5:
                self._random.shuffle(pairs)
                extent += self._random.choice((-1, 0, 1, 60_000))
            case _:
                pairs[at] = (name, token)
        lies = extent if extent != len(pairs) and self._random.random() < 0.2 else len(pairs)
        return _together(pairs, binary=binary, extent=lies)

    def _bent(self, number: int) -> bytes:
        """Return a message of which bytes were changed, cut, added, doubled, or mixed with those of another."""
        data = bytearray(self._encoded(self._row(number)))
        at = self._random.randrange(len(data))
        match self._random.randrange(6):
            case 0:
                for _ in range(self._random.randrange(1, 6)):
                    data[self._random.randrange(len(data))] = self._random.randrange(256)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = self._random.randbytes(self._random.randrange(1, 20))
            case 3:
                data += data[at:]
            case 4:
                data[at:] = self._encoded(self._row(number + 1))[at:]
            case _:
                data[0] ^= 0x80
        return bytes(data)

    def _nothing(self, _number: int) -> bytes | None:
        if self._random.random() < 0.1:
            return self._random.randbytes(self._random.randrange(1, 200))
        return self._random.choice(NOTHING)

    # parts

    def _encoded(self, row: Telemetry) -> bytes:
        return encode_json(row) if self._random.random() < 0.5 else encode_msgpack(row)

    def _row(self, number: int) -> Telemetry:
        counts = self._random.choice(self._pool)
        if number % 50 == 0:
            counts = [*counts[:-1], 70_000]  # this one needs four bytes a count
        row = Telemetry(
            node=f"n{number % NODES}",
            service=f"s{number % SERVICES}",
            boot="b",
            seq=number // (NODES * SERVICES) + 1,
            version=f"v{number % 3}",
            start_ms=self._now_ms(),
            requests=sum(counts),
            errors=self._random.randrange(sum(counts) + 1),
            latency=Histogram(-80, counts),
        )
        if number % 4:
            return row
        gauges = {"load": self._random.random()}
        slices = {"route=/": Slice(requests=1, latency=Histogram(0, [1]))}
        return msgspec.structs.replace(row, zone="a", gauges=gauges, ratios={"hit": (1, 2)}, counters={"c": 1}, slices=slices)


def _apart(row: Telemetry, *, binary: bool) -> Pairs:
    encode = msgspec.msgpack.encode if binary else msgspec.json.encode
    whole = msgspec.msgpack.decode(encode_msgpack(row)) if binary else msgspec.to_builtins(row)
    return [(encode(name), encode(value)) for name, value in whole.items()]


def _together(pairs: Pairs, *, binary: bool, extent: int) -> bytes:
    if binary:
        return b"\xde" + max(0, extent).to_bytes(2, "big") + b"".join(name + value for name, value in pairs)
    return b"{%s}" % b",".join(b"%s:%s" % pair for pair in pairs)
