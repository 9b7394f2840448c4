"""Private keys as files: 64 hexadecimal digits, readable by their owner alone; the file's stem is the key's id."""

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed
from tidegate.wire.documents import KeyRole, Root
from tidegate.wire.envelope import Refused, Signer, Trust, seal
from tidegate.wire.keys import trust_of, unseal_root

SUFFIX = ".key"
ROLES = (KeyRole.ROOT, KeyRole.OPERATOR, KeyRole.API, KeyRole.DECISION)
"""The keys of a fleet; nodes have one each beside these (H1)."""


def make_key(path: Path) -> Signer:
    """Make a private key and write it, mode 0600. Problem where the file is there already: a key is never overwritten."""
    private = Ed25519PrivateKey.generate()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Problem(f"{path} exists; a key is never overwritten", "use it, or move it away first") from error
    with os.fdopen(handle, "w") as file:
        file.write(private.private_bytes_raw().hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return Signer(path.stem, private)


def read_key(path: Path) -> Signer:
    """Return the private key in a file. Problem where it is missing, torn, or where others than its owner can read it."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise Problem(f"{path} is a private key and others can read it (mode {mode:04o})", f"run: chmod 600 {path}")
        return Signer(path.stem, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip())))
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}", "make keys with: tidegate init, or name the home with --home") from error
    except ValueError as error:
        raise Problem(
            f"{path} holds no private key of 64 hexadecimal digits", "restore it from a copy, or enrol a new key"
        ) from error


def make_root(fleet: str, signers: dict[KeyRole, Signer], issued_ms: int) -> bytes:
    """Return the signed key document, version 1, of a fleet's first keys."""
    keys = tuple(signers[role].public(role) for role in ROLES)
    return seal(Root(fleet=fleet, version=1, keys=keys, issued_ms=issued_ms), signers[KeyRole.ROOT])


def read_trust(path: Path) -> Trust:
    """Return the trust that the key document in a file states, no node enrolled yet. Problem where it cannot be trusted."""
    try:
        return trust_of(unseal_root(path.read_bytes(), None))
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}", "make keys with: tidegate init") from error
    except (Malformed, Refused) as error:
        raise Problem(f"{path}: {error}", "restore it from a copy") from error
