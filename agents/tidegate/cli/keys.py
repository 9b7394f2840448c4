"""``tidegate keys``: whose keys count, and how that changes (H1, H3)."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import click

from tidegate.cli.connect import run
from tidegate.cli.keyring import named_keys, ring
from tidegate.cli.keys_change import add, publish, revoke, rotate, sign, threshold
from tidegate.cli.keys_nodes import enrol, join, token
from tidegate.cli.output import Format, dump, format_option, show
from tidegate.runtime.home import Home
from tidegate.runtime.keys import COMMAND_SUFFIX, OFFLINE, SUFFIX
from tidegate.runtime.problem import Problem
from tidegate.wire.documents import PublicKey, Root
from tidegate.wire.envelope import Trust, open_envelope


@click.group()
def keys() -> None:
    """List keys; rotate and revoke them; enrol nodes.

    A key document names every key and is signed by root keys: the ones of the version before, and its own. Rotate while all runs:
    old and new key count side by side until the old one is revoked.
    """


@keys.command(name="list")
@format_option
@click.pass_obj
def list_(home: Home, form: Format) -> None:
    """List the keys that count, with where their private half is, and the nodes and tokens."""
    trust = _trust(home)
    show(list(_rows(home, trust)), form, empty="no key is known")
    near = [key.id for key in named_keys(trust) if key.role in OFFLINE and _here(home, key) == "key"]
    if near and form == "table":
        click.echo(f"{', '.join(near)}: no process needs them; keep them off this machine", err=True)


@keys.command(name="show")
@click.option("--version", type=click.IntRange(1), help="An older one that this home keeps. [default: the newest]")
@format_option
@click.pass_obj
def show_(home: Home, version: int | None, form: Format) -> None:
    """Show a key document as it was signed, and by whom."""
    trust = _trust(home)
    path = home.root if version in (None, trust.root_version) else home.keys / f"root-{version}.json"
    try:
        opened = open_envelope(path.read_bytes(), Root)
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}", "see the newest: tidegate keys show") from error
    said = json.loads(opened.payload)
    dump(said | {"signed_by": [one.keyid for one in opened.envelope.signatures]}, "yaml" if form == "table" else form)


def _trust(home: Home) -> Trust:
    """Return the trust as the log has it; as the home has it where no broker answers."""

    async def read() -> Trust:
        async with ring(home) as opened:
            return opened.trust

    try:
        return run(read())
    except Problem as problem:
        trust = home.trust
        click.echo(f"{problem.what}; this is what {home.root} says", err=True)
        return trust


def _rows(home: Home, trust: Trust) -> Iterator[dict[str, object]]:
    for key in named_keys(trust):
        yield _row(home, key, ", ".join(key.subjects) or "all", "")
    now_ms = time.time_ns() // 1_000_000
    for name, held in sorted(trust.tokens.items()):
        over = held.expires_ms <= now_ms
        yield _row(home, trust.keys[name], held.nodes, "over" if over else "open")
    for _, one in sorted(trust.enrolments.items()):
        counts = trust.keys.get(one.key.id) == one.key
        yield _row(home, one.key, one.node, "enrolled" if counts else "retired" if one.retired else "revoked")


def _row(home: Home, key: PublicKey, whose: str, state: str) -> dict[str, object]:
    return {
        "id": key.id,
        "role": str(key.role),
        "public": key.public[:16],
        "for": whose,
        "state": state,
        "here": _here(home, key),
    }


def _here(home: Home, key: PublicKey) -> str:
    """Return in which form this home holds the private half of a key; empty: it does not."""
    path = home.keys / f"{key.id}{SUFFIX}"
    if path.exists():
        return "passphrase" if _locked(path) else "key"
    return "command" if path.with_suffix(COMMAND_SUFFIX).exists() else ""


def _locked(path: Path) -> bool:
    return path.read_bytes()[:1] == b"{"


for _command in (add, rotate, revoke, threshold, sign, publish, token, join, enrol):
    keys.add_command(_command)
