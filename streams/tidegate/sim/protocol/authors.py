"""``desired`` as a judge reads it: who is the author at each offset, and what the author has said.

Signatures are not looked at: a judge of a simulated run knows who wrote what, so a guard that lets a forgery pass cannot hide it.
"""

import base64
from copy import copy
from typing import TypeVar

import msgspec
from msgspec import Struct

from tidegate.wire.documents import BreakGlass, Claim, Desired, KeyRole, Order, Root, Roster, digest, digest_of
from tidegate.wire.envelope import Envelope
from tidegate.wire.plans import Plan

T = TypeVar("T")

_envelopes = msgspec.json.Decoder(Envelope)


def content(value: bytes, kind: type[T]) -> T:
    """Return the document in an envelope."""
    return msgspec.json.decode(base64.b64decode(_envelopes.decode(value).payload), type=kind)


def forked(one: T) -> T:
    """Return a copy of an object that shares no dict, list or set with it. What is in those is immutable."""
    other = copy(one)
    for name, held in vars(one).items():
        if isinstance(held, dict | list | set):
            setattr(other, name, copy(held))
    return other


def key_of(life: str) -> str:
    """Return the name of the key that a life of a decider signs with."""
    return life.partition(".")[0]


class Glass(Struct, frozen=True):
    """A break-glass document, and since when it stands in the log."""

    document: BreakGlass
    at_ms: int


class Said(Struct, frozen=True):
    """A document that counted where it first landed."""

    document: Desired
    digest: str
    offset: int
    at_ms: int
    by: str = ""
    """Name of the key that signed it."""


class Authors:
    """Claims, and what counted of what was said, in log order. One subject."""

    def __init__(self) -> None:
        self.epoch = 0
        self.life = ""
        self.revoked: dict[str, int] = {}
        """Name of a decision key to the version of the key document from which on it counts no more (H1)."""
        self._claims: list[tuple[int, str]] = []
        self._spent = 0
        """The highest epoch that a void claim names. Nobody who claims it later leads by it, for the takeover of the void one may
        still be on its way.
        """
        self._keys: dict[str, int] = {}
        """Name of a decision key that counts to the version that named it first."""
        self.glass: Glass | None = None
        """The break-glass document that stands under its key, if it is one that was really signed (E5)."""
        self._glasses: dict[bytes, BreakGlass] = {}
        self.lives: dict[int, str] = {}
        """Epoch to the life that won it."""
        self.said: dict[str, Said] = {}
        """By digest of the document."""
        self.orders: dict[Order, str] = {}
        """To the digest of what was said first for each."""
        self.last: Said | None = None
        """The greatest of what was said."""
        self.level = b""
        """What stands last in the log for the subject, whoever wrote it."""
        self.plans: dict[str, Plan] = {}
        self.rosters: dict[str, Roster] = {}

    def copy(self) -> "Authors":
        """Return another reader who has read the same so far."""
        return forked(self)

    def claim(self, value: bytes) -> None:
        """Take a decider's claim: the first one of a higher epoch wins it."""
        claim = content(value, Claim)
        self._claims.append((claim.epoch, claim.life))
        self._claimed(claim.epoch, claim.life)

    def root(self, value: bytes) -> None:
        """Take a key document: what keys that it names no more have claimed is void."""
        root = content(value, Root)
        names = {key.id for key in root.keys if key.role is KeyRole.DECISION}
        for name in self._keys.keys() - names:
            self.revoked[name] = root.version
        self._keys = {name: self._keys.get(name, root.version) for name in sorted(names)}
        self.epoch, self.life, self._spent = 0, "", 0
        for epoch, life in self._claims:
            self._claimed(epoch, life)

    def _claimed(self, epoch: int, life: str) -> None:
        if key_of(life) in self.revoked:
            self._spent = max(self._spent, epoch)
        elif epoch > max(self.epoch, self._spent):
            self.epoch, self.life = epoch, life
            self.lives[epoch] = life

    def break_glass(self, value: bytes) -> BreakGlass:
        """Take what a person with a break-glass key says."""
        glass = self._glasses[value] = content(value, BreakGlass)
        return glass

    def glass_stands(self, at_ms: int, value: bytes) -> None:
        """Take what stands under the key of break-glass now, whoever wrote it."""
        document = self._glasses.get(value)
        if document is None or self.glass is None or self.glass.document != document:
            self.glass = Glass(document, at_ms) if document is not None else None

    def roster(self, value: bytes) -> None:
        """Take a decider's roster."""
        roster = content(value, Roster)
        self.rosters[digest_of(roster)] = roster

    def plan(self, value: bytes) -> Plan:
        """Take an operator's plan."""
        plan = content(value, Plan)
        self.plans[digest(value)] = plan
        return plan

    def desired(self, offset: int, at_ms: int, value: bytes, by: str, *, stolen: bool = False) -> Said | None:
        """Take a decider's document; return it where it counts and is new. ``by``: name of the key that signed it.

        ``stolen``: nodes may follow it, it is no author's. So it is with what a revoked key signs: a node that has not read so
        may follow.
        """
        document = content(value, Desired)
        name = digest_of(document)
        revoked = by in self.revoked
        if (document.epoch != self.epoch and not revoked) or name in self.said:
            return None
        said = self.said[name] = Said(document, name, offset, at_ms, by)
        if stolen or revoked:
            return None
        self.orders.setdefault(document.order, name)
        if self.last is None or self.last.document.order < document.order:
            self.last = said
        return said

    def standing(self) -> Said | None:
        """Return what stands last in the log, if it is something that an author has said."""
        try:
            return self.said.get(digest_of(content(self.level, Desired)))
        except (msgspec.MsgspecError, ValueError):
            return None
