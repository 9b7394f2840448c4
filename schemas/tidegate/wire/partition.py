"""Which partition a key belongs to: murmur2 as Kafka's default partitioner, so that every client in every language
agrees.
"""


def murmur2(data: bytes) -> int:
    """Return the 32-bit murmur2 of bytes as Kafka computes it, as an unsigned number.

    >>> murmur2(b"21") - (1 << 32)
    -973932308
    """
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    tail = data[whole:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of a key.

    >>> 0 <= partition_of("shop", 12) < 12
    True
    """
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
