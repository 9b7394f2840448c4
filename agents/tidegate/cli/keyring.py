"""The fleet's keys as commands change them: read from the topic, changed in one key document, signed, kept, published (H1).

The home keeps every key document: the newest as ``root.json``, those before as ``root-<version>.json``. So the whole chain can be
published anew, and a node that was installed with the first one can follow it.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tidegate.cli.connect import unconfirmed
from tidegate.cli.publish import ENROLMENT_SUFFIX
from tidegate.cli.session import Session, session
from tidegate.ports import Record, SendUnknown
from tidegate.runtime.home import Home
from tidegate.runtime.keys import COMMAND_SUFFIX, find_signer, read_command, read_key
from tidegate.runtime.problem import Problem
from tidegate.runtime.trust import read_trust, write_public
from tidegate.wire.acls import Principal
from tidegate.wire.codec import Malformed, decode_strict, encode
from tidegate.wire.documents import Enrolment, KeyRole, PublicKey, Root
from tidegate.wire.envelope import Envelope, Refused, Signs, Trust, open_envelope, seal
from tidegate.wire.keys import root_faults, trust_after, unseal_root, version_of

DRAFT = "draft.json"


class Ring(Struct, frozen=True):
    """An open log, the fleet's trust as it stands there, and the home that holds our keys."""

    home: Home
    here: Session
    records: Sequence[Record] = ()
    """What stands on the topic ``keys``."""

    @property
    def trust(self) -> Trust:
        """Whose keys count now."""
        return self.here.model.trust

    async def append(self, key: str, value: bytes, then: str = "run the same command again") -> None:
        """Append a record to ``keys``. Problem where no answer comes; ``then``: what is harmless to do next."""
        try:
            await self.here.log.append("keys", key, value)
        except SendUnknown as error:
            raise unconfirmed(error, "the broker did not confirm it", then) from error

    def read(self, envelope: bytes) -> Root:
        """Return the key document that is to be the next. Problem where it does not count."""
        try:
            return unseal_root(envelope, self.trust)
        except (Malformed, Refused) as error:
            raise Problem(f"this key document does not count: {error}", "see: tidegate keys show") from error

    async def publish(self, root: Root, envelope: bytes) -> None:
        """Publish the next key document as it was signed, and keep it in the home. Problem where another one came first."""
        await self.append(str(root.version), envelope)
        await self.here.catch_up()
        if (self.trust.root_version, named_keys(self.trust)) != (root.version, list(root.keys)):
            raise Problem(
                f"another key document of version {root.version} was published at the same time", "see: tidegate keys show"
            )
        keep(self.home, root.version, envelope)

    def left_out(self, newest: Trust) -> dict[str, Enrolment]:
        """Return the nodes that whoever starts with a key document (``newest``: it alone) does not know, and should: their
        enrolment is signed by an operator or a token that counts no more.
        """
        known, told = (_told(trust, self.records).enrolments for trust in (_oldest(self.home), newest))
        return {
            node: enrolment
            for node, enrolment in known.items()
            if node not in told and (enrolment.retired or enrolment.key.public not in newest.revoked)
        }

    async def resign(self, enrolments: Mapping[str, Enrolment], operator: Signs) -> None:
        """Say enrolments again, signed by an operator's key of now."""
        for node, enrolment in sorted(enrolments.items()):
            envelope = seal(enrolment, operator)
            await self.append(node, envelope, "go on with: tidegate keys publish")
            path = self.home.keys / f"{node}{ENROLMENT_SUFFIX}"
            if path.exists():
                path.write_bytes(envelope)


@contextlib.asynccontextmanager
async def ring(home: Home, role: Principal = "operator") -> AsyncIterator[Ring]:
    """Yield the fleet's keys as they stand in the log; the home is brought up to date with them."""
    async with session(home, topics=("keys",), role=role) as here:
        reader = await here.log.reader(["keys"])
        try:
            records = await reader.read_to_end()
        finally:
            await reader.close()
        # By version, for a link that was sent again stands behind its successors.
        for record in sorted(records, key=lambda one: version_of(one.key or "")):
            version = version_of(record.key or "")
            if record.value is not None and version == home.trust.root_version + 1:
                with contextlib.suppress(Malformed, Refused):
                    unseal_root(record.value, home.trust)
                    keep(home, version, record.value)
        yield Ring(home, here, records)


def _oldest(home: Home) -> Trust:
    """Return what the first key document states of those that the home has kept."""
    kept = {version_of(path.stem.removeprefix("root-")): path for path in home.keys.glob("root-*.json")}
    kept.pop(0, None)  # a draft
    return read_trust(kept[min(kept)] if kept else home.root)


def _told(trust: Trust, records: Sequence[Record]) -> Trust:
    """Return the trust of a reader that begins with one and reads the topic ``keys``."""
    for record in records:
        with contextlib.suppress(Malformed, Refused):
            trust = trust_after(trust, record.key or "", record.value or b"", record.time_ms)
    return trust


def keep(home: Home, version: int, envelope: bytes) -> None:
    """Make a key document the home's newest; the one before stays beside it."""
    if home.root.exists() and version != home.trust.root_version:
        write_public(home.keys / f"root-{home.trust.root_version}.json", home.root.read_bytes())
    write_public(home.root, envelope)
    home.__dict__.pop("trust", None)


def next_root(trust: Trust, keys: Sequence[PublicKey], revoked: Sequence[str] = (), threshold: int = 0) -> Root:
    """Return the key document after a trust, with these keys. Problem where it would be unsound."""
    root = Root(
        fleet=trust.fleet,
        version=trust.root_version + 1,
        keys=tuple(keys),
        issued_ms=time.time_ns() // 1_000_000,
        threshold=threshold or trust.threshold,
        revoked=tuple(sorted({*trust.revoked, *revoked})),
    )
    for fault in root_faults(root):
        raise Problem(f"that cannot be: {fault}", "see: tidegate keys list", code=2)
    return root


def named_keys(trust: Trust) -> list[PublicKey]:
    """Return the keys that the key document names, without those of nodes and tokens."""
    return [key for key in trust.keys.values() if key.role not in (KeyRole.NODE, KeyRole.JOIN)]


def root_signers(home: Home, trust: Trust, root: Root, extra: Sequence[Path]) -> list[Signs]:
    """Return all that can sign a key document: root keys of the one before and its own, from the home and from files."""
    found = [signer_in(path) for path in extra]
    wanted = {key.public: key for key in (*named_keys(trust), *root.keys) if key.role is KeyRole.ROOT}
    given = {signer.public(KeyRole.ROOT).public for signer in found}
    for public, key in wanted.items():
        signer = None if public in given else find_signer(home.keys, key.id)
        if signer is not None and signer.public(KeyRole.ROOT).public == public:
            found.append(signer)
    strangers = [signer.key_id for signer in found if signer.public(KeyRole.ROOT).public not in wanted]
    if strangers:
        raise Problem(
            f"{strangers[0]} is no root key of version {trust.root_version} or {root.version}", "see: tidegate keys list"
        )
    ids = {public: key.id for public, key in wanted.items()}
    return [Renamed(ids[signer.public(KeyRole.ROOT).public], signer) for signer in found]


def add_signatures(envelope: bytes, signers: Sequence[Signs]) -> bytes:
    """Return a key document with more signatures; one that is there is not doubled."""
    opened = open_envelope(envelope, Root)
    root = decode_strict(opened.payload, Root)
    more = decode_strict(seal(root, *signers), Envelope)
    there = {signature.keyid for signature in opened.envelope.signatures}
    added = tuple(one for one in more.signatures if one.keyid not in there)
    return encode(replace(opened.envelope, signatures=(*opened.envelope.signatures, *added)))


class Renamed(Struct, frozen=True):
    """A signer under the name that the key document gives it, whatever its file is called."""

    key_id: str
    signer: Signs

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        return self.signer.sign(message)

    def public(self, role: KeyRole, node: str = "") -> PublicKey:
        """Return the public half under the name of here."""
        return replace(self.signer.public(role, node), id=self.key_id)


def signer_in(path: Path) -> Signs:
    """Return what signs by a file: a private key, or a command."""
    return read_command(path) if path.suffix == COMMAND_SUFFIX else read_key(path)


def counted(trust: Trust, role: KeyRole, signer: Signs) -> Signs:
    """Return a signer under the name that its key has in a role. Problem where it has none."""
    for key in named_keys(trust):
        if key.role is role and key.public == signer.public(role).public:
            return Renamed(key.id, signer)
    raise Problem(f"{signer.key_id} is no {role} key of root version {trust.root_version}", "see: tidegate keys list")


def enrolled(trust: Trust, node: str) -> Enrolment:
    """Return the enrolment of a node. Problem where it has none."""
    found = trust.enrolments.get(node)
    if found is None:
        raise Problem(f"{node} is no enrolled node", "see: tidegate keys list")
    return found
