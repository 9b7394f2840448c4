"""``desired`` as a judge reads it: who is the author at each offset, and what the author has said.

Signatures are not looked at: a judge of a simulated run knows who wrote what, so a guard that lets a forgery pass cannot hide it.
"""

import base64
from copy import copy
from typing import TypeVar

import msgspec
from msgspec import Struct

from tidegate.wire.documents import Claim, Desired, Roster, digest, digest_of
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


class Said(Struct, frozen=True):
    """A document that counted where it first landed."""

    document: Desired
    digest: str
    offset: int
    at_ms: int


class Authors:
    """Claims, and what counted of what was said, in log order. One subject."""

    def __init__(self) -> None:
        self.epoch = 0
        self.life = ""
        self.lives: dict[int, str] = {}
        """Epoch to the life that won it."""
        self.said: dict[str, Said] = {}
        """By digest of the document."""
        self.orders: dict[tuple[int, int], str] = {}
        """Epoch and generation to the digest said for them."""
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
        if claim.epoch > self.epoch:
            self.epoch, self.life = claim.epoch, claim.life
            self.lives[claim.epoch] = claim.life

    def roster(self, value: bytes) -> None:
        """Take a decider's roster."""
        roster = content(value, Roster)
        self.rosters[digest_of(roster)] = roster

    def plan(self, value: bytes) -> Plan:
        """Take an operator's plan."""
        plan = content(value, Plan)
        self.plans[digest(value)] = plan
        return plan

    def desired(self, offset: int, at_ms: int, value: bytes, *, stolen: bool = False) -> Said | None:
        """Take a decider's document; return it where it counts and is new. ``stolen``: nodes may follow it, it is no author's."""
        document = content(value, Desired)
        name = digest_of(document)
        if document.epoch != self.epoch or name in self.said:
            return None
        said = self.said[name] = Said(document, name, offset, at_ms)
        if stolen:
            return said
        self.orders.setdefault((document.epoch, document.generation), name)
        if self.last is None or self.last.document.order < document.order:
            self.last = said
        return said

    def standing(self) -> Said | None:
        """Return what stands last in the log, if it is something that an author has said."""
        try:
            return self.said.get(digest_of(content(self.level, Desired)))
        except (msgspec.MsgspecError, ValueError):
            return None
