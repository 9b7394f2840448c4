"""Dead letters: what could not be read, as it came, with where it came from and why.

A record that is read twice (after a crash) leaves two letters; origin topic, partition and offset identify them.
"""

from aiokafka import ConsumerRecord

from tidegate.wire.codec import Malformed
from tidegate.wire.topics import BY_NAME

ROOM_BYTES = 16 << 10
"""Kept free for headers, key and framing."""
VALUE_BYTES_MAX = BY_NAME["deadletters"].message_bytes_max - ROOM_BYTES
TEXT_BYTES_MAX = 1 << 10

Headers = list[tuple[str, bytes]]


def letter(source: str, record: "ConsumerRecord[bytes, bytes]", fault: Malformed) -> tuple[bytes | None, Headers]:
    """Return value and headers of the letter for one record of the topic ``source``.

    The value is the original bytes; a record too large for the topic is cut, and ``origin-bytes`` tells its true size.
    """
    value = record.value
    headers: Headers = [
        ("origin-topic", source.encode()),
        ("origin-partition", str(record.partition).encode()),
        ("origin-offset", str(record.offset).encode()),
        ("origin-time-ms", str(record.timestamp).encode()),
        ("origin-bytes", str(len(value or b"")).encode()),
        ("path", fault.path.encode(errors="replace")[:TEXT_BYTES_MAX]),
        ("reason", fault.problem.encode(errors="replace")[:TEXT_BYTES_MAX]),
    ]
    if record.key is not None:
        headers.append(("origin-key", record.key[:TEXT_BYTES_MAX]))
    return value if value is None else value[:VALUE_BYTES_MAX], headers
