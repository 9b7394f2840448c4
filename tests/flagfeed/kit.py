"""A fleet's keys, and an author who publishes flags as decide does."""

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidegate.flagfeed import Follower, Held, News
from tidegate.flags.store import Flags
from tidegate.ports import Appended
from tidegate.wire.documents import KeyRole, Order, Root
from tidegate.wire.envelope import Signer, Trust, seal
from tidegate.wire.flags import topic_key
from tidegate.wire.flagstamps import HEADER, stamp
from tidegate.wire.keys import trust_of, unseal_root

FLEET = "f"


def signer(name: str) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b".")))


ROOT, OPERATOR, DECISION = signer("root"), signer("operator"), signer("decision")
SECOND, STRANGER = signer("second"), signer("stranger")


def root_document(version: int = 1, decision: Signer = DECISION, revoked: tuple[str, ...] = ()) -> bytes:
    keys = (ROOT.public(KeyRole.ROOT), OPERATOR.public(KeyRole.OPERATOR), decision.public(KeyRole.DECISION))
    return seal(Root(fleet=FLEET, version=version, keys=keys, issued_ms=0, revoked=revoked), ROOT)


TRUST: Trust = trust_of(unseal_root(root_document(), None))


def root_file(folder: Path) -> Path:
    path = folder / "root.json"
    path.write_bytes(root_document())
    path.chmod(0o644)
    return path


def flag(default: str = "on", **fields) -> bytes:
    """An on/off flag."""
    known = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": default}
    return json.dumps(known | fields).encode()


class Author:
    """Publishes under a decision key, each record of the next generation."""

    def __init__(self, log, by: Signer = DECISION, root_version: int = 1, epoch: int = 1) -> None:
        self.log = log
        self.by = by
        self.root_version = root_version
        self.epoch = epoch
        self.generation = 0

    async def put(self, key: str, value: bytes | None, generation: int | None = None) -> Appended:
        self.generation = self.generation + 1 if generation is None else generation
        order = Order(self.root_version, self.epoch, self.generation)
        header = stamp(topic_key(key), value, order, FLEET, self.by)
        return await self.log.append("flags", key, value, headers={HEADER: header})


class Reader:
    """One follower that evaluates, and what it told."""

    def __init__(self, log, clock, disk=None, trust: Trust = TRUST, sets: frozenset[str] = frozenset()) -> None:
        self.flags = Flags()
        self.held = Held(trust, self.flags.put, sets)
        self.told: list[News] = []
        self.follower = Follower(log, clock, self.held, self.told.append, disk)

    def default(self, key: str) -> str | None:
        """The variant that everyone has of a flag; None where there is no such flag."""
        set_id, name = key.split("/")
        found = self.flags.sets.get(set_id)
        return None if found is None or name not in found.flags else found.flags[name].default_variant

    def changed(self) -> list[str]:
        return [str(key) for news in self.told for key in news.changed]
