"""What a hundred readers in one process need not work out a hundred times, and what a simulation need not work out at all.

Envelopes, documents and nodes' states are remembered by their bytes, of which they are functions. Signatures are stand-ins of the
same length: a digest of the public key and the message. Nobody here can be fooled by one, since who forges has another key, and
what is refused with real signatures is refused with these: that is a test. The real ones cost a tenth of a schedule.
"""

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import Iterator

from tests.protocol.mutants import NODES

from tidegate.node import reading, state
from tidegate.wire import envelope
from tidegate.wire.envelope import Signer
from tidegate.world.play import beginning

KEPT = 20_000
ALL_TASKS = [vars(asyncio.tasks)[name] for name in ("_all_tasks", "_scheduled_tasks") if name in vars(asyncio.tasks)]
"""Named as it is until Python 3.11, and from 3.12 to 3.13."""


class Memory:
    """What was opened and decoded, and the public halves of keys."""

    def __init__(self) -> None:
        self._verify, self._decode, self._open = envelope._verifies, envelope.decode_strict, envelope.open_envelope
        self._unpack, self._digest = state.unpack, reading.digest_of
        self._good: dict[tuple[str, str, bytes], bool] = {}
        self._read: dict[tuple[bytes, type], object] = {}
        self._opened: dict[tuple[bytes, type], object] = {}
        self._states: dict[bytes, object] = {}
        self._digests: dict[int, tuple[object, str]] = {}
        self._public: dict[int, tuple[object, bytes]] = {}

    def verifies(self, key, signature, message):
        at = (key.public, signature.sig, message)
        found = self._good.get(at)
        if found is None:
            # What is no stand-in is of a story's beginning, or forged.
            found = self._good[at] = _is_stand_in(key, signature, message) or self._verify(key, signature, message)
        return found

    def sign(self, signer, message):
        held = self._public.get(id(signer.private))
        if held is None:
            held = self._public[id(signer.private)] = (signer.private, signer.private.public_key().public_bytes_raw())
        return _stand_in(held[1], message)

    def decode(self, data, kind):
        found = self._read.get((data, kind))
        if found is None:
            found = self._read[data, kind] = self._decode(data, kind)
        return found

    def open(self, data, kind):
        found = self._opened.get((data, kind))
        if found is None:
            found = self._opened[data, kind] = self._open(data, kind)
        return found

    def unpack(self, data):
        found = self._states.get(data)
        if found is None:
            found = self._states[data] = self._unpack(data)
        return found

    def digest(self, document):
        found = self._digests.get(id(document))  # many read the same object, since it is remembered
        if found is None:
            found = self._digests[id(document)] = (document, self._digest(document))
        return found[1]

    def forget(self) -> None:
        """Keep no more than a few hundred stories hold."""
        for kept in (self._good, self._read, self._opened, self._states, self._digests):
            if len(kept) > KEPT:
                kept.clear()


def _stand_in(public: bytes, message: bytes) -> bytes:
    return hashlib.sha512(public + message).digest()


def _is_stand_in(key, signature, message):
    with contextlib.suppress(ValueError):
        return base64.b64decode(signature.sig, validate=True) == _stand_in(bytes.fromhex(key.public), message)
    return False


@contextlib.contextmanager
def remembering() -> Iterator[Memory]:
    """Let what is inside open and decode equal bytes once, and sign with stand-ins."""
    for nodes in NODES:
        beginning(nodes)  # made once, with every guard and with real signatures
    memory = Memory()
    before = (envelope._verifies, envelope.decode_strict, envelope.open_envelope, Signer.sign)
    before_on_nodes = (state.unpack, reading.digest_of)
    envelope._verifies, envelope.decode_strict, envelope.open_envelope = memory.verifies, memory.decode, memory.open
    Signer.sign = lambda signer, message: memory.sign(signer, message)  # noqa: PLW0108 - a method of the class, not of memory
    state.unpack, reading.digest_of = memory.unpack, memory.digest
    # A weak set of all tasks there are, which nobody here asks for: a fortieth of a schedule.
    for tasks in ALL_TASKS:
        tasks.add = id
    try:
        yield memory
    finally:
        envelope._verifies, envelope.decode_strict, envelope.open_envelope, Signer.sign = before
        state.unpack, reading.digest_of = before_on_nodes
        for tasks in ALL_TASKS:
            vars(tasks).pop("add", None)  # whoever remembers within another one has taken it away
