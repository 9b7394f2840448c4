"""The messages of flagd's sync API, ``flagd.sync.v1`` (flagd-schemas, protobuf/flagd/sync/v1/sync.proto), as bytes.

Six messages of two strings and a map: written out here, no generated code has to fit the protobuf library of an installation.
Tests hold them against the stubs of flagd's own provider.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from tidegate.wire.codec import Malformed

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
VARINT_BYTES_MAX = 10


class SyncRequest(Struct, frozen=True):
    """SyncFlagsRequest and FetchAllFlagsRequest. ``selector`` is also a header, which wins."""

    provider_id: str = ""
    selector: str = ""


def sync_request(data: bytes) -> SyncRequest:
    """Return a request; unknown fields pass. Malformed where it is no protobuf message of this shape."""
    found = {1: "", 2: ""}
    for number, value in _fields(data):
        if number in found:
            if value is None:
                raise Malformed("", f"field {number} of the request is no string")
            try:
                found[number] = value.decode()
            except UnicodeDecodeError as error:
                raise Malformed("", f"field {number} of the request is no UTF-8") from error
    return SyncRequest(found[1], found[2])


def flags_response(configuration: bytes) -> bytes:
    """Return a SyncFlagsResponse or FetchAllFlagsResponse of a flagd file; ``sync_context`` stays unset."""
    return _bytes_field(1, configuration)


def metadata_response(metadata: Mapping[str, str]) -> bytes:
    """Return a GetMetadataResponse: a Struct of strings."""
    entries = (_bytes_field(1, key.encode()) + _bytes_field(2, _bytes_field(3, text.encode())) for key, text in metadata.items())
    return _bytes_field(2, b"".join(_bytes_field(1, entry) for entry in entries))


def _bytes_field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _fields(data: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield each field's number, and its bytes where it has some."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        value: bytes | None = None
        if kind == VARINT:
            _, at = _read_varint(data, at)
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        elif kind == BYTES:
            length, at = _read_varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            raise Malformed("", f"wire type {kind} of field {number} is not known")
        if at > len(data) or number == 0:
            raise Malformed("", "the message ends within a field")
        yield number, value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for index in range(VARINT_BYTES_MAX):
        if at + index >= len(data):
            break
        byte = data[at + index]
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, at + index + 1
    raise Malformed("", "the message ends within a number")


__all__ = ["SyncRequest", "flags_response", "metadata_response", "sync_request"]
