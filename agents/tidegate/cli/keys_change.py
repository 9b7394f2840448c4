"""``tidegate keys add | rotate | revoke | threshold``: the next key document, signed at once or by several people in turn.

Rotation is two documents: one that names the new key beside the old, and, when everything uses the new one, one without the old.
A stolen key is replaced by one document (``--now``).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from tidegate.cli.connect import run
from tidegate.cli.keyring import DRAFT, Ring, add_signatures, named_keys, next_root, ring, root_signers
from tidegate.runtime.home import Home
from tidegate.runtime.keys import ROLES, SUFFIX, make_key, new_passphrase, write_private
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed, convert, decode_strict
from tidegate.wire.documents import Enrolment, KeyRole, PublicKey, Root
from tidegate.wire.envelope import Refused, Signs, Trust, open_envelope, seal
from tidegate.wire.keys import trust_of, unseal_root
from tidegate.wire.names import is_name

root_key_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--root-key",
    "root_keys",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A root key or .signer file elsewhere, such as on a stick; may be repeated. Those in the home are used anyway.",
)
passphrase_option = click.option("--passphrase", is_flag=True, help="Protect the new private key by a passphrase.")
public_option = click.option("--public", metavar="HEX", help="The public half of a key made elsewhere, in a device for instance.")

NEXT = {
    KeyRole.DECISION: "restart tidegate decide (it takes the new key)",
    KeyRole.OPERATOR: "sign with the new key from now on (commands take it)",
    KeyRole.ROOT: "put the new key where the old one is kept",
    KeyRole.BREAKGLASS: "put the new key where the old one is kept",
    KeyRole.API: "restart what uses it",
    KeyRole.GATE: "restart what uses it",
}


NEEDED = (KeyRole.ROOT, KeyRole.OPERATOR, KeyRole.DECISION)


class New(Struct, frozen=True):
    """A key to come: made here, or elsewhere (``public``)."""

    role: KeyRole
    name: str
    public: str = ""
    subjects: tuple[str, ...] = ()

    def made(self, home: Home, passphrase: str) -> PublicKey:
        """Return it as it stands in a key document. Problem where it cannot."""
        try:
            if self.public:
                return convert(
                    {"id": self.name, "role": self.role, "public": self.public, "subjects": list(self.subjects)}, PublicKey
                )
            key = make_key(home.keys / f"{self.name}{SUFFIX}", passphrase).public(self.role)
            return convert({"id": key.id, "role": key.role, "public": key.public, "subjects": list(self.subjects)}, PublicKey)
        except Malformed as error:
            raise Problem(f"that is no key: {error}", "see: tidegate keys add --help", code=2) from error


@click.command()
@click.argument("role", type=click.Choice([str(role) for role in ROLES]))
@click.option("--id", "name", help="What to call it. [default: the role and the next number]")
@click.option("--subject", "subjects", multiple=True, help="It counts for this subject only, as svc/shop; may be repeated.")
@public_option
@passphrase_option
@root_key_option
@click.pass_obj
def add(
    home: Home,
    role: str,
    name: str | None,
    subjects: tuple[str, ...],
    public: str | None,
    passphrase: bool,
    root_keys: tuple[Path, ...],
) -> None:
    """Add a key of ROLE: another operator's, another decision agent's."""

    def change(trust: Trust) -> Root:
        new = New(KeyRole(role), _fresh(home, trust, KeyRole(role), name), public or "", subjects)
        return _with(home, trust, new, passphrase=passphrase)

    run(_change(home, change, root_keys))


@click.command()
@click.argument("key", metavar="ROLE|ID")
@click.option("--now", is_flag=True, help="The old key counts no more from this on, as when it was stolen.")
@public_option
@passphrase_option
@root_key_option
@click.pass_obj
def rotate(home: Home, key: str, now: bool, public: str | None, passphrase: bool, root_keys: tuple[Path, ...]) -> None:
    """Make a new key beside one that counts (the newest of a ROLE). When all use it, revoke the old one."""
    names: list[PublicKey] = []

    def change(trust: Trust) -> Root:
        old = _one(trust, key)
        new = New(old.role, _fresh(home, trust, old.role, None), public or "", old.subjects)
        names.append(old)
        root = _with(home, trust, new, passphrase=passphrase)
        if not now:
            return root
        kept = [one for one in root.keys if one.id != old.id]
        return next_root(trust, kept, revoked=[old.public])

    if run(_change(home, change, root_keys)) and names:
        then = "" if now else f", then: tidegate keys revoke {names[0].id}"
        click.echo(f"next: {NEXT[names[0].role]}{then}")


@click.command()
@click.argument("key", metavar="ID")
@root_key_option
@click.pass_obj
def revoke(home: Home, key: str, root_keys: tuple[Path, ...]) -> None:
    """Let a key count for nothing any more: of the fleet, of a node, or of a token. The last one of a role is rotated instead."""

    def change(trust: Trust) -> Root:
        old = trust.keys.get(key)
        if old is None:
            raise Problem(f"no key {key} counts", "see: tidegate keys list")
        kept = [one for one in named_keys(trust) if one.id != key]
        if old.role in NEEDED and all(one.role is not old.role for one in kept):
            raise Problem(
                f"{key} is the last {old.role} key; without one nothing goes on", f"run: tidegate keys rotate {key} --now"
            )
        return next_root(trust, kept, revoked=[old.public])

    run(_change(home, change, root_keys))


@click.command()
@click.argument("number", type=click.IntRange(1, 16))
@root_key_option
@click.pass_obj
def threshold(home: Home, number: int, root_keys: tuple[Path, ...]) -> None:
    """Let NUMBER root keys have to sign each further key document."""
    run(_change(home, lambda trust: next_root(trust, named_keys(trust), threshold=number), root_keys))


@click.command()
@click.argument("draft", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@root_key_option
@click.pass_obj
def sign(home: Home, draft: Path, root_keys: tuple[Path, ...]) -> None:
    """Add signatures to a DRAFT of a key document. Needs no broker: a machine without a network will do."""
    root = _read(draft)
    for line in told(home.trust, root):
        click.echo(line)
    envelope = add_signatures(draft.read_bytes(), root_signers(home, home.trust, root, root_keys))
    draft.write_bytes(envelope)
    click.echo(
        f"{draft}: {len(open_envelope(envelope, Root).envelope.signatures)} signatures; next: tidegate keys publish {draft}"
    )


@click.command()
@click.argument("draft", required=False, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.pass_obj
def publish(home: Home, draft: Path | None) -> None:
    """Publish a DRAFT that enough root keys have signed.

    Without one it goes on where an earlier command was broken off: nodes whose enrolment is signed by a key that counts no more
    are enrolled anew.
    """
    if draft is not None:
        _read(draft)
    envelope = draft.read_bytes() if draft is not None else b""

    async def work() -> None:
        async with ring(home) as opened:
            if envelope:
                await _finish(opened, envelope)
            elif left := opened.left_out(home.trust):
                await _enrol_anew(opened, left, home.signer(KeyRole.OPERATOR))
            else:
                click.echo("nothing was broken off: every enrolment counts")

    run(work())
    if draft is not None:
        draft.unlink()


def told(trust: Trust, root: Root) -> list[str]:
    """Return in words what a key document changes: who signs it must see what it is."""
    before, after = {key.id: key for key in named_keys(trust)}, {key.id: key for key in root.keys}
    lines = [f"key document {root.version} of fleet {root.fleet}, signed by {root.threshold} root keys from then on"]
    lines += [f"  + {key.id} ({key.role}) {key.public[:16]}" for name, key in after.items() if before.get(name) != key]
    lines += [f"  - {key.id} ({key.role}) {key.public[:16]}" for name, key in before.items() if after.get(name) != key]
    return lines + [f"  revoked: {public[:16]}" for public in root.revoked if public not in trust.revoked]


async def _change(home: Home, change: Callable[[Trust], Root], root_keys: tuple[Path, ...]) -> bool:
    """Make, sign and publish the next key document; where signatures are missing leave a draft. Return whether it counts."""
    async with ring(home) as opened:
        trust = opened.trust
        draft = home.keys / f"root-{trust.root_version + 1}.{DRAFT}"
        if draft.exists():
            raise Problem(f"{draft} waits for signatures", "tidegate keys sign it and publish it, or remove it first")
        root = change(trust)
        envelope = seal(root, *root_signers(home, trust, root, root_keys))
        for line in told(trust, root):
            click.echo(line)
        try:
            unseal_root(envelope, trust)
        except Refused as error:
            write_private(draft, envelope)
            click.echo(f"not enough signatures yet: {error}")
            click.echo(f"next, where the others are: tidegate keys sign {draft}; then: tidegate keys publish {draft}")
            return False
        await _finish(opened, envelope)
        return True


async def _finish(opened: Ring, envelope: bytes) -> None:
    """Publish a key document, and enrol nodes anew whose operator or token it takes. Who signs that is found first: without it
    whoever starts with the new document would not know them.
    """
    root = opened.read(envelope)
    newest = trust_of(root)
    left = opened.left_out(newest)
    operator = opened.home.signer(KeyRole.OPERATOR, newest) if left else None
    await opened.publish(root, envelope)
    click.echo(f"root version {root.version} counts from now on")
    if operator is not None:
        await _enrol_anew(opened, left, operator)


async def _enrol_anew(opened: Ring, left: Mapping[str, Enrolment], operator: Signs) -> None:
    await opened.resign(left, operator)
    click.echo(f"signed {len(left)} enrolments anew")


def _with(home: Home, trust: Trust, new: New, *, passphrase: bool) -> Root:
    """Return the key document with one key more. It is checked before the key is made."""
    if new.name in trust.keys or not is_name(new.name):
        raise Problem(f"{new.name!r} is taken or no name", "choose another one with --id", code=2)
    key = new.made(home, new_passphrase() if passphrase and not new.public else "")
    return next_root(trust, [*named_keys(trust), key])


def _one(trust: Trust, name: str) -> PublicKey:
    """Return the key of an id, or the newest of a role."""
    found = [key for key in named_keys(trust) if name in (key.id, str(key.role))]
    exact = [key for key in found if key.id == name and name not in set(KeyRole)]
    if not found:
        raise Problem(f"no key {name} counts", "see: tidegate keys list")
    return (exact or found)[-1]


def _fresh(home: Home, trust: Trust, role: KeyRole, name: str | None) -> str:
    """Return the id of a new key: one that neither the fleet nor this home has used."""
    if name is not None:
        return name
    number = 2
    while f"{role}-{number}" in trust.keys or (home.keys / f"{role}-{number}{SUFFIX}").exists():
        number += 1
    return f"{role}-{number}"


def _read(draft: Path) -> Root:
    try:
        return decode_strict(open_envelope(draft.read_bytes(), Root).payload, Root)
    except Malformed as error:
        raise Problem(f"{draft}: {error}", "make it with: tidegate keys rotate") from error
