"""A disk in memory, with the faults that disks have."""

import errno


class MemoryDisk:
    """``tidegate.ports.Disk``: what was written survives whoever wrote it. ``full`` refuses writes."""

    def __init__(self, free_bytes: int = 1 << 40) -> None:
        self.files: dict[str, bytes] = {}
        self.full = False
        self._free_bytes = free_bytes

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a name, or None where there are none."""
        return self.files.get(name)

    def write(self, name: str, data: bytes) -> None:
        """Replace the bytes of a name. OSError while the disk is full."""
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on device", name)
        self.files[name] = data

    def free_bytes(self) -> int:
        """Return how many bytes are free."""
        return 0 if self.full else self._free_bytes
