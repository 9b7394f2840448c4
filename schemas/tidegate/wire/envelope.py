"""The signed envelope: DSSE 1.0.2 with Ed25519, and the trust that says whose signature counts for what.

The bytes that are verified are the bytes that are parsed; the key id is only a hint. Nothing here reads files or the
time: expiry and order are
checked where the document is applied.
"""

import base64
import binascii
from typing import Literal, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from tidegate.wire.codec import Malformed, decode_strict, encode
from tidegate.wire.documents import Claim, Desired, Enrolment, Heartbeat, Intent, KeyRole, PublicKey, Report, Root, Roster
from tidegate.wire.plans import Plan
from tidegate.wire.policies import Policy

ENVELOPE_BYTES_MAX = 4 << 20

Kind = Literal["plan", "policy", "roster", "desired", "claim", "heartbeat", "report", "intent", "root", "enrolment"]
Document = Plan | Policy | Roster | Desired | Claim | Heartbeat | Report | Intent | Root | Enrolment
T = TypeVar("T", Plan, Policy, Roster, Desired, Claim, Heartbeat, Report, Intent, Root, Enrolment)

KINDS: dict[type[Document], Kind] = {
    Plan: "plan",
    Policy: "policy",
    Roster: "roster",
    Desired: "desired",
    Claim: "claim",
    Heartbeat: "heartbeat",
    Report: "report",
    Intent: "intent",
    Root: "root",
    Enrolment: "enrolment",
}

ROLES: dict[type[Document], frozenset[KeyRole]] = {
    Plan: frozenset({KeyRole.OPERATOR}),
    Policy: frozenset({KeyRole.OPERATOR}),
    Roster: frozenset({KeyRole.DECISION}),
    Desired: frozenset({KeyRole.DECISION, KeyRole.BREAKGLASS}),
    Claim: frozenset({KeyRole.DECISION}),
    Heartbeat: frozenset({KeyRole.DECISION}),
    Report: frozenset({KeyRole.NODE}),
    Intent: frozenset({KeyRole.OPERATOR, KeyRole.API, KeyRole.GATE}),
    Root: frozenset({KeyRole.ROOT}),
    Enrolment: frozenset({KeyRole.ROOT, KeyRole.OPERATOR}),
}
"""Which role may sign which document (H1)."""


class Signature(Struct, frozen=True, forbid_unknown_fields=True):
    """One signature over PAE(payloadType, payload)."""

    keyid: str
    sig: str


class Envelope(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """DSSE's JSON form."""

    payload_type: str
    payload: str
    signatures: tuple[Signature, ...]


class Refused(Exception):
    """A document that does not count: nobody entitled signed it, or it is not for this fleet. Carries a plain reason."""


class WrongFleet(Refused):
    """A document that is validly signed, for another fleet."""


class Signer(Struct, frozen=True):
    """A private key and its name."""

    key_id: str
    private: Ed25519PrivateKey

    def public(self, role: KeyRole, node: str = "") -> PublicKey:
        """Return the public half, as it stands in a key document."""
        return PublicKey(id=self.key_id, role=role, public=self.private.public_key().public_bytes_raw().hex(), node=node)


class Trust(Struct, frozen=True):
    """Whose signatures count: the root document's keys and the enrolled nodes' ones, of one fleet."""

    fleet: str
    root_version: int
    keys: dict[str, PublicKey]

    def with_enrolment(self, enrolment: Enrolment) -> "Trust":
        """Return this trust with a node's key added, or taken out where the node is retired."""
        keys = {key_id: key for key_id, key in self.keys.items() if key.node != enrolment.node}
        if not enrolment.retired:
            keys[enrolment.key.id] = enrolment.key
        return Trust(self.fleet, self.root_version, keys)

    def nodes(self) -> frozenset[str]:
        """Return the names of the enrolled nodes."""
        return frozenset(key.node for key in self.keys.values() if key.node)


def trust_of(root: Root) -> Trust:
    """Return the trust that a root document states, with no node enrolled yet."""
    return Trust(root.fleet, root.version, {key.id: key for key in root.keys})


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


def seal(document: Document, *signers: Signer) -> bytes:
    """Return the envelope of a document, signed by each signer. Equal documents and keys give equal bytes (Ed25519 is
    deterministic).
    """
    payload = encode(document)
    kind = payload_type(type(document))
    message = pae(kind, payload)
    signatures = tuple(Signature(s.key_id, base64.b64encode(s.private.sign(message)).decode()) for s in signers)
    return encode(Envelope(kind, base64.b64encode(payload).decode(), signatures))


def unseal(data: bytes, kind: type[T], trust: Trust) -> tuple[T, PublicKey]:
    """Return the document and the key that signed it.

    Raises Malformed where it cannot be read, Refused where no key of an entitled role signed these bytes or where it
    names another fleet. A report counts only when the key of that very node signed it.
    """
    envelope, payload, message = _open(data, kind)
    for signature in envelope.signatures:
        key = trust.keys.get(signature.keyid)
        if key is None or key.role not in ROLES[kind] or not _verifies(key, signature, message):
            continue
        document = decode_strict(payload, kind)
        if document.fleet != trust.fleet:
            raise WrongFleet(f"this {KINDS[kind]} is for fleet {document.fleet}, here is {trust.fleet}")
        _check_reporter(document, key)
        return document, key
    signed_by = ", ".join(signature.keyid for signature in envelope.signatures) or "nobody"
    roles = " or ".join(sorted(ROLES[kind]))
    raise Refused(f"this {KINDS[kind]} is signed by {signed_by}; it needs a valid signature of a known {roles} key")


def unseal_root(data: bytes, trust: Trust | None) -> Root:
    """Return a root document: signed by a root key of ``trust``, or, where there is none yet, by one of its own (trust
    on first use, from a local file).
    """
    envelope, payload, message = _open(data, Root)
    root = decode_strict(payload, Root)
    if trust is not None and (root.fleet != trust.fleet or root.version <= trust.root_version):
        raise Refused(
            f"root version {root.version} of fleet {root.fleet} does not follow "
            f"version {trust.root_version} of fleet {trust.fleet}"
        )
    entitled = {key.id: key for key in (root.keys if trust is None else trust.keys.values()) if key.role is KeyRole.ROOT}
    for signature in envelope.signatures:
        key = entitled.get(signature.keyid)
        if key is not None and _verifies(key, signature, message):
            return root
    raise Refused(f"root version {root.version} carries no valid signature of a root key that is trusted here")


def trust_after(trust: Trust, key: str, value: bytes) -> Trust:
    """Return the trust after one record of ``keys`` (H3). Raises Malformed or Refused where it does not count.

    A key document replaces the keys of the fleet and keeps the enrolled nodes; one that is not newer changes nothing.
    """
    if not key.isdigit():
        return trust.with_enrolment(unseal(value, Enrolment, trust)[0])
    if int(key) <= trust.root_version:
        return trust
    root = trust_of(unseal_root(value, trust))
    nodes = {name: one for name, one in trust.keys.items() if one.node}
    return Trust(root.fleet, root.root_version, root.keys | nodes)


def _open(data: bytes, kind: type[Document]) -> tuple[Envelope, bytes, bytes]:
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
    return envelope, payload, pae(expected, payload)


def _check_reporter(document: Document, key: PublicKey) -> None:
    if isinstance(document, Report) and key.node != document.node:
        raise Refused(f"node {key.node} signed a report of node {document.node}")


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
    "Refused",
    "Signer",
    "Trust",
    "WrongFleet",
    "pae",
    "payload_type",
    "seal",
    "trust_after",
    "trust_of",
    "unseal",
    "unseal_root",
]
