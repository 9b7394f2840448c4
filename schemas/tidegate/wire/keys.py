"""Whose keys count: the fold of the topic ``keys`` (H1, H3). Pure; the same records in the same order give the same trust.

The chain of key documents is followed link by link, each signed by the root keys of the one before and by its own (TUF 5.3: no
link can be left out, none goes back). A link sent again stands behind its successors once the topic is compacted, so a document
that comes too early waits for the one that it follows. Nothing but a key document names a key that signs commands or plans: an
enrolment names a node's key and no other, so that a stolen operator key makes nobody a decision agent.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from tidegate.wire.codec import Malformed, decode_strict
from tidegate.wire.documents import Enrolment, KeyRole, PublicKey, Root, Token
from tidegate.wire.envelope import ENVELOPE_BYTES_MAX, Opened, Refused, Trust, open_envelope, unseal
from tidegate.wire.grown import Grown

TOKENS = "token/"
FINGERPRINT = 16
EARLY_BYTES_MAX = ENVELOPE_BYTES_MAX
"""Of all key documents that wait. Nobody can verify one before its turn, so the lowest versions keep their place."""
_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_ROOT = frozenset({KeyRole.ROOT})
_BESIDE = frozenset({KeyRole.NODE, KeyRole.JOIN})
"""Roles whose keys stand in records of their own."""


def trust_of(root: Root) -> Trust:
    """Return the trust that a key document states, with no node enrolled yet."""
    return Trust(
        root.fleet, root.version, {key.id: key for key in root.keys}, threshold=root.threshold, revoked=frozenset(root.revoked)
    )


def unseal_root(data: bytes, trust: Trust | None) -> Root:
    """Return a key document: the next one after ``trust``, or, where there is none yet, one that its own root keys vouch for
    (trust on first use, from a local file).

    Raises Malformed or Refused.
    """
    opened = open_envelope(data, Root)
    if trust is not None:
        before = _signatures(opened, trust.keys)
        if before < trust.threshold:
            raise Refused(_too_few(before, trust.threshold, f"version {trust.root_version}, which is trusted here"))
    root = decode_strict(opened.payload, Root)
    if trust is not None and (root.fleet, root.version) != (trust.fleet, trust.root_version + 1):
        raise Refused(
            f"root version {root.version} of fleet {root.fleet} does not follow "
            f"version {trust.root_version} of fleet {trust.fleet}"
        )
    for fault in root_faults(root):
        raise Refused(f"root version {root.version}: {fault}")
    own = _signatures(opened, {key.id: key for key in root.keys})
    if own < root.threshold:
        raise Refused(_too_few(own, root.threshold, "its own"))
    return root


def root_faults(root: Root) -> Iterator[str]:
    """Yield what is wrong with a key document, however well it is signed."""
    for field in ("id", "public"):
        twice = [value for value, times in Counter(getattr(key, field) for key in root.keys).items() if times > 1]
        if twice:
            # One key in two roles is one theft for both.
            yield f"{field} {twice[0]} stands there twice; every key has one role"
    for key in root.keys:
        if key.role in _BESIDE or key.node:
            yield f"key {key.id} is of role {key.role}; nodes and tokens have records of their own"
        if key.public in root.revoked:
            yield f"key {key.id} is revoked in the same document"
    roots = sum(key.role is KeyRole.ROOT for key in root.keys)
    if roots < root.threshold:
        yield f"{root.threshold} root keys must sign the next version, and it names {roots}"


def trust_after(trust: Trust, key: str, value: bytes, time_ms: int) -> Trust:
    """Return the trust after one record of ``keys``, given its key, value and append time (H3).

    Raises Malformed or Refused where it does not count. A key document that is not newer changes nothing; one that is more than
    one version ahead waits, and those that wait are tried, in turn, behind each that counts (``links``).
    """
    version = version_of(key)
    if version:
        return _after_root(trust, version, value)
    if key.startswith(TOKENS):
        return _after_token(trust, key, value)
    return _after_enrolment(trust, key, value, time_ms)


def links(before: Trust, after: Trust, value: bytes) -> list[tuple[str, bytes]]:
    """Return the key documents, as key and value of their records, that began to count between two trusts, in their order.

    ``value``: of the record that ``trust_after`` has made the second one of; more than one where some have waited for it.
    """
    first = before.root_version + 1
    found = {first: value, **{version: early for version, early in before.early.items() if version > first}}
    return [(str(version), found[version]) for version in range(first, after.root_version + 1)]


def version_of(key: str) -> int:
    """Return which key document a record's key announces; 0: the record is another one.

    >>> version_of("12"), version_of("web-1"), version_of("\u00b2")
    (12, 0, 0)
    """
    return int(key) if _VERSION.fullmatch(key) else 0


def enrolment_key(enrolment: Enrolment, *, joined: bool) -> str:
    """Return the record key of an enrolment. One by a token carries the key's fingerprint: so that, whatever compaction leaves,
    a second one for the same name cannot take the place of the first.
    """
    return f"{enrolment.node}/{enrolment.key.public[:FINGERPRINT]}" if joined else enrolment.node


def enrol(trust: Trust, enrolment: Enrolment) -> Trust:
    """Return the trust with a node's key in it, or out of it where the node is retired. Refused where the key is another's."""
    node, key, before = enrolment.node, enrolment.key, trust.enrolments.get(enrolment.node)
    if key.role is not KeyRole.NODE or key.node != node:
        raise Refused(f"the enrolment of node {node} names a key of role {key.role} of node {key.node or '(none)'}")
    holder = trust.keys.get(key.id)
    if holder is not None and holder.node != node:
        raise Refused(f"the enrolment of node {node} names its key {key.id}, as another one is named")
    if key.public in trust.revoked and not enrolment.retired:
        raise Refused(f"the key of node {node} is revoked")
    # Thousands are told one by one: a copy for each would cost as much as the square of their number.
    keys = Grown.of(trust.keys)
    if before is not None and keys.get(before.key.id) == before.key:
        keys = keys.drop(before.key.id)
    if not enrolment.retired:
        keys = keys.put(key.id, key)
    return replace(trust, keys=keys, enrolments=Grown.of(trust.enrolments).put(node, enrolment))


def _after_root(trust: Trust, version: int, value: bytes) -> Trust:
    if version <= trust.root_version:
        return trust
    if version > trust.root_version + 1:
        return _wait(trust, version, value)
    trust = _next_root(trust, version, value)
    while (following := trust.early.get(trust.root_version + 1)) is not None:
        try:
            trust = _next_root(trust, trust.root_version + 1, following)
        except (Malformed, Refused):  # it never counted, here or anywhere else
            break
    return replace(trust, early={one: early for one, early in trust.early.items() if one > trust.root_version + 1})


def _wait(trust: Trust, version: int, value: bytes) -> Trust:
    early, room = {}, EARLY_BYTES_MAX
    for one, waiting in sorted({**trust.early, version: value}.items()):
        room -= len(waiting)
        if room < 0:
            break
        early[one] = waiting
    return trust if early == trust.early else replace(trust, early=early)


def _next_root(trust: Trust, version: int, value: bytes) -> Trust:
    root = unseal_root(value, trust)
    if root.version != version:
        raise Refused(f"root version {root.version} stands under key {version}")
    new = trust_of(root)
    beside = {
        name: key
        for name, key in trust.keys.items()
        if key.role in _BESIDE and key.public not in new.revoked and name not in new.keys
    }
    tokens = {name: token for name, token in trust.tokens.items() if name in beside}
    return replace(new, keys={**new.keys, **beside}, enrolments=trust.enrolments, tokens=tokens, early=trust.early)


def _after_token(trust: Trust, key: str, value: bytes) -> Trust:
    token, _ = unseal(value, Token, trust)
    name = token.key.id
    if key != f"{TOKENS}{name}" or token.key.role is not KeyRole.JOIN:
        raise Refused(f"token {name} of role {token.key.role} stands under key {key}")
    if token.key.public in trust.revoked:
        raise Refused(f"token {name} is revoked")
    if trust.tokens.get(name) == token:
        return trust
    if name in trust.keys:
        raise Refused(f"token {name} is named as another key is")
    return replace(trust, keys=Grown.of(trust.keys).put(name, token.key), tokens=Grown.of(trust.tokens).put(name, token))


def _after_enrolment(trust: Trust, key: str, value: bytes, time_ms: int) -> Trust:
    enrolment, signer = unseal(value, Enrolment, trust)
    node, before = enrolment.node, trust.enrolments.get(enrolment.node)
    joined = signer.role is KeyRole.JOIN
    if key != enrolment_key(enrolment, joined=joined):
        raise Refused(f"an enrolment of node {node} stands under key {key}")
    if enrolment == before:
        return trust
    if joined:
        _check_token(trust, trust.tokens[signer.id], enrolment, time_ms)
    elif before is not None and enrolment.issued_ms <= before.issued_ms:
        raise Refused(
            f"an enrolment of node {node} is not later than the one that counts: a record of before, or a clock set back"
        )
    return enrol(trust, enrolment)


def _check_token(trust: Trust, token: Token, enrolment: Enrolment, time_ms: int) -> None:
    """Refuse all but one thing: a token enrols who was never enrolled. It replaces, retires and brings back nobody."""
    node, name = enrolment.node, token.key.id
    if time_ms >= token.expires_ms:
        raise Refused(f"node {node} joins by token {name}, whose time is over")
    if not token.admits(node):
        raise Refused(f"node {node} joins by token {name}, which is for {token.nodes}")
    if node in trust.enrolments or enrolment.retired:
        raise Refused(
            f"node {node} was enrolled before; a token takes nobody's place: an operator replaces keys and retires nodes"
        )


def _signatures(opened: Opened, keys: Mapping[str, PublicKey]) -> int:
    """Return by how many root keys an envelope is signed; one key under two names is one."""
    return len({key.public for key in opened.signed_by(keys, _ROOT)})


def _too_few(found: int, needed: int, whose: str) -> str:
    if not found:
        return f"this key document carries no valid signature of a root key of {whose}; it needs {needed}"
    return f"this key document is signed by {found} root keys of {whose}; it needs {needed}"


__all__ = ["TOKENS", "enrol", "enrolment_key", "links", "root_faults", "trust_after", "trust_of", "unseal_root", "version_of"]
