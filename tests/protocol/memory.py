"""What a hundred readers in one process need not work out a hundred times: signatures and documents, remembered by their bytes.

Both are functions of nothing but bytes, so that remembering them changes no run. A signature that was made here is known to be
good; every other one is verified, once.
"""

import base64
import contextlib
from collections.abc import Iterator

from tidegate.wire import envelope
from tidegate.wire.envelope import Signer

KEPT = 20_000


class Memory:
    """What was verified, signed and decoded."""

    def __init__(self) -> None:
        self._verify, self._decode, self._sign = envelope._verifies, envelope.decode_strict, Signer.sign
        self._good: dict[tuple[str, str, bytes], bool] = {}
        self._signed: dict[tuple[str, bytes], bytes] = {}
        self._read: dict[tuple[bytes, type], object] = {}
        self._public: dict[int, str] = {}

    def verifies(self, key, signature, message):
        at = (key.public, signature.sig, message)
        found = self._good.get(at)
        if found is None:
            found = self._good[at] = self._verify(key, signature, message)
        return found

    def sign(self, signer, message):
        public = self._public.get(id(signer.private))
        if public is None:
            public = self._public[id(signer.private)] = signer.private.public_key().public_bytes_raw().hex()
        found = self._signed.get((public, message))
        if found is None:
            found = self._signed[public, message] = self._sign(signer, message)
            self._good[public, base64.b64encode(found).decode(), message] = True
        return found

    def decode(self, data, kind):
        found = self._read.get((data, kind))
        if found is None:
            found = self._read[data, kind] = self._decode(data, kind)
        return found

    def forget(self) -> None:
        """Keep no more than a few hundred stories hold."""
        for kept in (self._good, self._signed, self._read):
            if len(kept) > KEPT:
                kept.clear()


@contextlib.contextmanager
def remembering() -> Iterator[Memory]:
    """Let what is inside verify and decode equal bytes once."""
    memory = Memory()
    before = (envelope._verifies, envelope.decode_strict, Signer.sign)
    envelope._verifies, envelope.decode_strict = memory.verifies, memory.decode
    Signer.sign = lambda signer, message: memory.sign(signer, message)  # noqa: PLW0108 - a method of the class, not of memory
    try:
        yield memory
    finally:
        envelope._verifies, envelope.decode_strict, Signer.sign = before
