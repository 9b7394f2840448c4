"""``tidegate keys token | join | enrol`` and ``tidegate fleet retire``: nodes come and go (H3).

A token is a key that may do one thing: enrol nodes of some names that were never enrolled, for a while. The node's own key is
made on the node and never leaves it.
"""

import base64
import binascii
import secrets
import sys
import time

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct
from msgspec.structs import replace

from tidegate.cli.connect import run
from tidegate.cli.init import make_home, make_node_file
from tidegate.cli.keyring import Ring, enrolled, keep, ring
from tidegate.runtime.home import Home
from tidegate.runtime.keys import SUFFIX, make_key, read_key
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed, convert, decode_strict, encode
from tidegate.wire.documents import Enrolment, KeyRole, Token
from tidegate.wire.envelope import Refused, Signer, seal
from tidegate.wire.keys import TOKENS, enrolment_key, trust_of, unseal_root, version_of
from tidegate.wire.names import duration_ms, is_name

MARK = "tgjoin1."


class Invitation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token's text carries: all that a machine needs to join, and the token's private half."""

    key: str
    secret: str
    root: str
    """The newest key document: who hands over a token hands over whom to trust."""
    bootstrap: str
    prefix: str


@click.command()
@click.argument("nodes", metavar="NODE|PREFIX*")
@click.option("--valid", default="1h", show_default=True, metavar="DURATION", help="How long it lets nodes join.")
@click.pass_obj
def token(home: Home, nodes: str, valid: str) -> None:
    """Print a token by which one node, or nodes of a prefix, join. Whoever has it can; it takes no enrolled node's place."""
    try:
        expires_ms = _now_ms() + duration_ms(valid)
    except ValueError as error:
        raise Problem(f"--valid: {error}", "see: tidegate keys token --help", code=2) from error
    held = Signer(f"join-{secrets.token_hex(4)}", Ed25519PrivateKey.generate())
    key = held.public(KeyRole.JOIN)
    fields = {"fleet": home.settings.fleet, "nodes": nodes, "expires_ms": expires_ms, "issued_ms": _now_ms()}
    try:
        document = convert(fields | {"kind": "token", "key": {"id": key.id, "role": "join", "public": key.public}}, Token)
    except Malformed as error:
        raise Problem(f"that is no token: {error}", "write a node's name, or a prefix and a star, as in web-*", code=2) from error

    async def work() -> str:
        async with ring(home) as opened:
            await opened.append(f"{TOKENS}{key.id}", seal(document, home.signer(KeyRole.OPERATOR)))
            await opened.here.catch_up()
            if key.id not in opened.trust.tokens:
                raise Problem("the token does not count", "sign with an operator's key that counts: tidegate keys list")
        kafka = home.settings.kafka
        secret = held.private.private_bytes_raw().hex()
        invitation = Invitation(
            key=key.id, secret=secret, root=home.root.read_text(), bootstrap=home.bootstrap(), prefix=kafka.prefix
        )
        return MARK + base64.urlsafe_b64encode(encode(invitation)).decode()

    click.echo(run(work()))
    click.echo(
        f"on the machine, within {valid}: tidegate keys join --node NAME - (and paste it); revoke: keys revoke {key.id}", err=True
    )


@click.command()
@click.argument("text", metavar="TOKEN|-")
@click.option("--node", required=True, help="Name of this node.")
@click.option("--zone", default="", help="Where it stands.")
@click.pass_obj
def join(home: Home, text: str, node: str, zone: str) -> None:
    """Enrol this machine as a node: makes its key and its file, here. With - the token is read from standard input."""
    invitation = _invitation(sys.stdin.readline() if text == "-" else text)
    _check_name(node)
    by = Signer(invitation.key, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(invitation.secret)))
    try:
        trust = trust_of(unseal_root(invitation.root.encode(), None))
    except (Malformed, Refused) as error:
        raise Problem(f"this token carries no key document that counts: {error}", "ask for another token") from error
    if not home.config.exists():
        make_home(home, trust.fleet, invitation.bootstrap, invitation.prefix)
    if not home.root.exists():
        keep(home, trust.root_version, invitation.root.encode())
    if home.trust.fleet != trust.fleet:
        raise Problem(
            f"{home.folder} is of fleet {home.trust.fleet}, the token of {trust.fleet}", "choose another --home", code=2
        )
    path = home.keys / f"node-{node}{SUFFIX}"
    key = (read_key(path) if path.exists() else make_key(path)).public(KeyRole.NODE, node)
    record = Enrolment(fleet=trust.fleet, node=node, key=key, issued_ms=_now_ms())

    async def work() -> None:
        async with ring(home, "join") as opened:
            if _holds(opened, record):
                return
            await opened.append(enrolment_key(record, joined=True), seal(record, by))
            await opened.here.catch_up()
            if not _holds(opened, record):
                why = "its name is taken" if node in opened.trust.enrolments else "the token is over, revoked, or for other names"
                raise Problem(f"{node} was not enrolled: {why}", "ask an operator: tidegate keys token, or keys enrol")

    run(work())
    make_node_file(home, node, zone)
    click.echo(f"{node} is enrolled; name its services in {home.nodes / f'{node}.yaml'}, then: tidegate node --config that file")


@click.command()
@click.argument("node")
@click.option("--public", required=True, metavar="HEX", help="The public half of the node's key.")
@click.pass_obj
def enrol(home: Home, node: str, public: str) -> None:
    """Enrol a node by the public half of its key, or give an enrolled one another key."""
    _check_name(node)
    try:
        record = convert(
            {
                "kind": "enrolment",
                "fleet": home.settings.fleet,
                "node": node,
                "key": {"id": f"node-{node}", "role": "node", "public": public, "node": node},
                "issued_ms": _now_ms(),
            },
            Enrolment,
        )
    except Malformed as error:
        raise Problem(f"that is no key: {error}", "give the 64 hexadecimal digits of the public half", code=2) from error
    run(_say(home, record))
    click.echo(f"{node} is enrolled with key {public[:16]}")


@click.command()
@click.argument("node")
@click.pass_obj
def retire(home: Home, node: str) -> None:
    """Let a node belong to the fleet no more. If its key may be in other hands, revoke the key as well."""

    async def held() -> Enrolment:
        async with ring(home) as opened:
            return enrolled(opened.trust, node)

    run(_say(home, replace(run(held()), retired=True)))
    click.echo(f"{node} is retired")


async def _say(home: Home, record: Enrolment) -> None:
    """Publish an enrolment by an operator, later than the one of before whatever this clock says."""
    async with ring(home) as opened:
        before = opened.trust.enrolments.get(record.node)
        record = replace(record, issued_ms=max(_now_ms(), before.issued_ms + 1 if before is not None else 0))
        await opened.append(record.node, seal(record, home.signer(KeyRole.OPERATOR)))
        await opened.here.catch_up()
        if opened.trust.enrolments.get(record.node) != record:
            raise Problem(f"the enrolment of {record.node} does not count", "is its key revoked? see: tidegate keys list")


def _holds(opened: Ring, record: Enrolment) -> bool:
    found = opened.trust.enrolments.get(record.node)
    return found is not None and found.key == record.key and not found.retired


def _check_name(node: str) -> None:
    if not is_name(node) or version_of(node):
        raise Problem(f"{node!r} is no name of a node", "use letters, digits, . _ - (at most 128), and not digits alone", code=2)


def _invitation(text: str) -> Invitation:
    mark, found, rest = text.strip().partition(".")
    try:
        return decode_strict(base64.urlsafe_b64decode(rest if mark + found == MARK else ""), Invitation)
    except (Malformed, binascii.Error, ValueError) as error:
        raise Problem("this is no join token", "copy the whole line that tidegate keys token printed", code=2) from error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
