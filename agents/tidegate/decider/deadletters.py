"""Dead letters of the decision agent: what does not count, as it came, with where it came from and why."""

from tidegate.ports import Record
from tidegate.wire.topics import BY_NAME

ROOM_BYTES = 16 << 10
"""Kept free for headers, key and framing."""
VALUE_BYTES_MAX = BY_NAME["deadletters"].message_bytes_max - ROOM_BYTES
TEXT_BYTES_MAX = 1 << 10


def letter(record: Record, cause: str) -> tuple[bytes, dict[str, bytes]]:
    """Return value and headers of a record's dead letter; the header names are those that intake uses."""
    value = record.value or b""
    headers = {
        "origin-topic": record.topic.encode(),
        "origin-partition": str(record.partition).encode(),
        "origin-offset": str(record.offset).encode(),
        "origin-time-ms": str(record.time_ms).encode(),
        "origin-bytes": str(len(value)).encode(),
        "reason": cause.encode(errors="replace")[:TEXT_BYTES_MAX],
    }
    if record.key is not None:
        headers["origin-key"] = record.key.encode(errors="replace")[:TEXT_BYTES_MAX]
    return value[:VALUE_BYTES_MAX], headers
