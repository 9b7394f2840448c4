"""The node's memory on disk: two copies, written in turn, each with its length and digest.

A crash or a flipped bit costs at most the newest copy; the one before it is then used. Where both are damaged the node keeps
what runs and refuses advances until a settled document of the fleet's author is accepted.
"""

import hashlib
from typing import Final

import msgspec
from msgspec.structs import replace

from tidegate.ports import Disk
from tidegate.reconcile.held import NodeState
from tidegate.wire.codec import Malformed, decode, encode

SLOTS: Final = ("state-a", "state-b")


def pack(state: NodeState) -> bytes:
    """Return the bytes of one copy: ``length|sha256|json``.

    >>> unpack(pack(NodeState(serial=7))).serial
    7
    """
    body = encode(state)
    return b"%d|%s|%s" % (len(body), hashlib.sha256(body).hexdigest().encode(), body)


def unpack(data: bytes) -> NodeState:
    """Return what a copy holds; Malformed where it is torn or damaged."""
    length, _, rest = data.partition(b"|")
    digest, _, body = rest.partition(b"|")
    if not length.isdigit() or int(length) != len(body) or hashlib.sha256(body).hexdigest().encode() != digest:
        raise Malformed("", "torn or damaged copy of the node's state")
    return decode(body, NodeState)


class StateFile:
    """Reads the newest good copy, and writes over the older one."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._newest = SLOTS[1]

    def load(self) -> NodeState | None:
        """Return the newest good copy, an empty state where none was ever written, None where every copy is damaged."""
        found: list[tuple[int, str, NodeState]] = []
        damaged = False
        for slot in SLOTS:
            data = self._disk.read(slot)
            if data is None:
                continue
            try:
                state = unpack(data)
            except (Malformed, msgspec.MsgspecError):
                damaged = True
            else:
                found.append((state.serial, slot, state))
        if not found:
            return None if damaged else NodeState()
        _, self._newest, state = max(found, key=lambda one: one[0])
        return state

    def save(self, state: NodeState) -> NodeState:
        """Write a state durably and return it with its new serial; OSError where the disk does not take it."""
        numbered = replace(state, serial=state.serial + 1)
        slot = SLOTS[1] if self._newest == SLOTS[0] else SLOTS[0]
        self._disk.write(slot, pack(numbered))
        self._newest = slot
        return numbered
