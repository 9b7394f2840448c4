"""The signed envelope: DSSE 1.0.2 with Ed25519, and who may sign what.

The bytes that are verified are the bytes that are parsed; the key id is only a hint. Checked in this order: size, envelope, type,
signatures, strict schema, fleet, scope of the key. What fails early costs little: nobody without a key of the role makes a reader
parse a payload (TUF: endless data). Nothing here reads files or the time: expiry and order are checked where the document is
applied.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta, Struct

from tidegate.wire.codec import Malformed, decode_strict, encode
from tidegate.wire.documents import (
    BreakGlass,
    Claim,
    Desired,
    Enrolment,
    FlagStamp,
    Heartbeat,
    Intent,
    KeyRole,
    PublicKey,
    Report,
    Root,
    Roster,
    Token,
    Verb,
)
from tidegate.wire.groups import Group
from tidegate.wire.names import FLAG_PREFIX, Label, service_subject
from tidegate.wire.plans import Plan
from tidegate.wire.policies import Policy

ENVELOPE_BYTES_MAX = 4 << 20
SIGNATURES_MAX = 16
"""Each costs a reader a verification."""

Kind = Literal[
    "plan",
    "group",
    "policy",
    "roster",
    "desired",
    "breakglass",
    "claim",
    "heartbeat",
    "report",
    "intent",
    "root",
    "enrolment",
    "token",
    "flag",
]
Document = (
    Plan
    | Group
    | Policy
    | Roster
    | Desired
    | BreakGlass
    | Claim
    | Heartbeat
    | Report
    | Intent
    | Root
    | Enrolment
    | Token
    | FlagStamp
)
T = TypeVar(
    "T", Plan, Group, Policy, Roster, Desired, BreakGlass, Claim, Heartbeat, Report, Intent, Root, Enrolment, Token, FlagStamp
)

KINDS: dict[type[Document], Kind] = {
    Plan: "plan",
    Group: "group",
    Policy: "policy",
    Roster: "roster",
    Desired: "desired",
    BreakGlass: "breakglass",
    Claim: "claim",
    Heartbeat: "heartbeat",
    Report: "report",
    Intent: "intent",
    Root: "root",
    Enrolment: "enrolment",
    Token: "token",
    FlagStamp: "flag",
}

ROLES: dict[type[Document], frozenset[KeyRole]] = {
    Plan: frozenset({KeyRole.OPERATOR}),
    Group: frozenset({KeyRole.OPERATOR}),
    Policy: frozenset({KeyRole.OPERATOR}),
    Roster: frozenset({KeyRole.DECISION}),
    Desired: frozenset({KeyRole.DECISION}),
    BreakGlass: frozenset({KeyRole.BREAKGLASS}),
    Claim: frozenset({KeyRole.DECISION}),
    Heartbeat: frozenset({KeyRole.DECISION}),
    Report: frozenset({KeyRole.NODE}),
    Intent: frozenset({KeyRole.OPERATOR, KeyRole.API, KeyRole.GATE}),
    Root: frozenset({KeyRole.ROOT}),
    Enrolment: frozenset({KeyRole.ROOT, KeyRole.OPERATOR, KeyRole.JOIN}),
    Token: frozenset({KeyRole.ROOT, KeyRole.OPERATOR}),
    FlagStamp: frozenset({KeyRole.DECISION}),
}
"""Which role may sign which document (H1). Whoever steals one key has one row of this table (Uptane: director and image
repository are two keys, and both are needed).
"""

GATE_VERBS = frozenset({Verb.PROMOTE, Verb.PAUSE, Verb.ABORT})
"""What an outgoing gate may answer (H1)."""
FLEET_VERBS = frozenset({Verb.CORDON, Verb.UNCORDON, Verb.UNSILENCE})
"""What reaches beyond the subject that an intent names: a node has many services, and whose silence ends nothing in it says."""


class Signature(Struct, frozen=True, forbid_unknown_fields=True):
    """One signature over PAE(payloadType, payload)."""

    keyid: Label
    sig: Label


class Envelope(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """DSSE's JSON form."""

    payload_type: str
    payload: str
    signatures: Annotated[tuple[Signature, ...], Meta(max_length=SIGNATURES_MAX)]


class Refused(Exception):
    """A document that does not count: nobody entitled signed it, or it is not for this fleet. Carries a plain reason."""


class WrongFleet(Refused):
    """A document that is validly signed, for another fleet."""


class Signs(Protocol):
    """Whoever can sign under a name: a key in memory, or a command that asks a device or a service for it."""

    @property
    def key_id(self) -> str:
        """Name under which the signature stands."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of a message."""
        ...

    def public(self, role: KeyRole, node: str = "") -> PublicKey:
        """Return the public half, as it stands in a key document."""
        ...


class Signer(Struct, frozen=True):
    """A private key and its name."""

    key_id: str
    private: Ed25519PrivateKey

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of a message."""
        return self.private.sign(message)

    def public(self, role: KeyRole, node: str = "") -> PublicKey:
        """Return the public half, as it stands in a key document."""
        return PublicKey(id=self.key_id, role=role, public=self.private.public_key().public_bytes_raw().hex(), node=node)


class Trust(Struct, frozen=True):
    """Whose signatures count in one fleet, as folded from its key documents, tokens and enrolments (``tidegate.wire.keys``)."""

    fleet: str
    root_version: int
    keys: Mapping[str, PublicKey]
    threshold: int = 1
    """So many root keys sign the next key document."""
    revoked: frozenset[str] = frozenset()
    enrolments: Mapping[str, Enrolment] = {}
    """By node, the retired ones too: who was enrolled once joins by no token."""
    tokens: Mapping[str, Token] = {}
    early: Mapping[int, bytes] = {}
    """Key documents by version that were read before the one that each follows (``tidegate.wire.keys``). None of them counts."""

    def nodes(self) -> frozenset[str]:
        """Return the names of the enrolled nodes."""
        return frozenset(key.node for key in self.keys.values() if key.role is KeyRole.NODE)


def payload_type(kind: type[Document]) -> str:
    """Return the DSSE payload type of a kind of document."""
    return f"application/vnd.tidegate.{KINDS[kind]}+json;v=1"


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding: what is really signed.

    >>> pae("a", b"bc")
    b'DSSEv1 1 a 2 bc'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(document: Document, *signers: Signs) -> bytes:
    """Return the envelope of a document, signed by each signer. Equal documents and keys give equal bytes (Ed25519 is
    deterministic).
    """
    payload = encode(document)
    kind = payload_type(type(document))
    message = pae(kind, payload)
    signatures = tuple(Signature(s.key_id, base64.b64encode(s.sign(message)).decode()) for s in signers)
    return encode(Envelope(kind, base64.b64encode(payload).decode(), signatures))


def unseal(data: bytes, kind: type[T], trust: Trust) -> tuple[T, PublicKey]:
    """Return the document and the key that signed it.

    Raises Malformed where it cannot be read, Refused where no key of an entitled role signed these bytes, where none that did may
    say this (``beyond_scope``), or where it names another fleet.
    """
    opened = open_envelope(data, kind)
    beyond = ""
    for key in opened.signed_by(trust.keys, ROLES[kind]):
        document = decode_strict(opened.payload, kind)
        if document.fleet != trust.fleet:
            raise WrongFleet(f"this {KINDS[kind]} is for fleet {document.fleet}, here is {trust.fleet}")
        beyond = beyond_scope(document, key)
        if not beyond:
            return document, key
    roles = " or ".join(sorted(ROLES[kind]))
    named = ", ".join(signature.keyid for signature in opened.envelope.signatures) or "nobody"
    raise Refused(beyond or f"this {KINDS[kind]} is signed by {named}; it needs a valid signature of a known {roles} key")


def beyond_scope(document: Document, key: PublicKey) -> str:
    """Return why a key of an entitled role may not say this, empty where it may: the scopes of H1."""
    if isinstance(document, Report) and key.node != document.node:
        return f"node {key.node} signed a report of node {document.node}"
    if isinstance(document, Intent) and key.role is KeyRole.GATE and document.verb not in GATE_VERBS:
        return f"gate key {key.id} asks to {document.verb}; a gate only answers {', '.join(sorted(GATE_VERBS))}"
    if isinstance(document, Intent) and key.role is KeyRole.API and not document.actor:
        return "this intent comes by the API and names no user as its actor"
    if not key.subjects:
        return ""
    subject = subject_of(document)
    if subject not in key.subjects:
        kind, whose = KINDS[type(document)], subject or "no subject"
        return f"key {key.id} counts for {', '.join(key.subjects)} only; this {kind} is of {whose}"
    return _beyond_subject(document, key) if isinstance(document, Intent) else ""


def _beyond_subject(intent: Intent, key: PublicKey) -> str:
    """Return why a key for some subjects may not ask for this, though it names one of them: it would reach further."""
    only = f"key {key.id} counts for {', '.join(key.subjects)} only"
    if intent.verb in FLEET_VERBS:
        return f"{only}; {intent.verb} is for keys that count for all"
    service = intent.hush.service if intent.hush is not None else ""
    if intent.verb is Verb.SILENCE and service_subject(service) not in key.subjects:
        return f"{only}; this silence is of {service_subject(service) if service else 'every service'}"
    return ""


def subject_of(document: Document) -> str:
    """Return the subject that a document is about; empty where it is about none."""
    if isinstance(document, Plan):
        return service_subject(document.service)
    if isinstance(document, FlagStamp):
        return f"{FLAG_PREFIX}{document.key}"
    if isinstance(document, Group):
        return document.key
    return document.subject if isinstance(document, Roster | Desired | BreakGlass | Intent) else ""


class Opened(Struct, frozen=True):
    """An envelope of the right size and type; nothing of the payload has been read."""

    envelope: Envelope
    payload: bytes
    message: bytes
    """What the signatures are over."""

    def signed_by(self, keys: Mapping[str, PublicKey], roles: frozenset[KeyRole]) -> Iterator[PublicKey]:
        """Yield the keys of some roles that signed, each for each signature. Lazy: who has seen enough verifies no more."""
        for signature in self.envelope.signatures:
            key = keys.get(signature.keyid)
            if key is None or key.role not in roles or not _verifies(key, signature, self.message):
                continue
            yield key


def open_envelope(data: bytes, kind: type[Document]) -> Opened:
    """Return an envelope that claims to hold a kind of document. Malformed where it is none, or too large."""
    if len(data) > ENVELOPE_BYTES_MAX:
        raise Malformed("", f"{len(data)} bytes; at most {ENVELOPE_BYTES_MAX} are read")
    envelope = decode_strict(data, Envelope)
    expected = payload_type(kind)
    if envelope.payload_type != expected:
        raise Malformed("payloadType", f"expected {expected}, got {envelope.payload_type}")
    try:
        payload = base64.b64decode(envelope.payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("payload", "not base64") from error
    return Opened(envelope, payload, pae(expected, payload))


def _verifies(key: PublicKey, signature: Signature, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public)).verify(
            base64.b64decode(signature.sig, validate=True), message
        )
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


__all__ = [
    "Document",
    "Envelope",
    "Malformed",
    "Opened",
    "Refused",
    "Signer",
    "Signs",
    "Trust",
    "WrongFleet",
    "beyond_scope",
    "open_envelope",
    "pae",
    "payload_type",
    "seal",
    "subject_of",
    "unseal",
]
