"""Protobuf written by hand, for what no client writes: an encoder that shares nothing with the reader."""

import struct


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def zigzag(value: int) -> int:
    return value * 2 if value >= 0 else -value * 2 - 1


def field(number: int, value) -> bytes:
    """A field: whole numbers as varints, fractions as doubles, text and bytes with their length."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(*pairs) -> bytes:
    return b"".join(field(number, value) for number, value in pairs)


def metric(kind: int, value: bytes, **labels: str) -> bytes:
    return fields(*((1, fields((1, name), (2, text))) for name, text in labels.items()), (kind, value))


def family(name: str, kind: int, *metrics: bytes) -> bytes:
    """One family behind its length."""
    data = fields((1, name), (2, "Help."), (3, kind), *((4, one) for one in metrics))
    return varint(len(data)) + data


def spans(number: int, *pairs: tuple[int, int]) -> bytes:
    return fields(*((number, fields((1, zigzag(offset)), (2, length))) for offset, length in pairs))


def packed(number: int, values: list[int]) -> bytes:
    return field(number, b"".join(varint(zigzag(value)) for value in values))


def one_by_one(number: int, values: list[int]) -> bytes:
    return fields(*((number, zigzag(value)) for value in values))


def doubles(number: int, values: list[float]) -> bytes:
    return field(number, struct.pack(f"<{len(values)}d", *values))
