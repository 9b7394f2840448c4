"""Private keys as files, readable by their owner alone; the file's stem is the key's id.

``<id>.key`` holds 64 hexadecimal digits, or the same under a passphrase. ``<id>.signer`` names a command that signs instead: the
private half is then in a device or a service, and never here.
"""

import base64
import binascii
import contextlib
import getpass
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import Meta, Struct

from tidegate.runtime.problem import Problem
from tidegate.runtime.trust import read_guarded
from tidegate.runtime.yaml_text import NotYaml, parse_yaml
from tidegate.wire.codec import Malformed, convert, decode_strict, encode
from tidegate.wire.documents import KeyRole, PublicKey, Root
from tidegate.wire.envelope import Signer, Signs, seal

SUFFIX = ".key"
COMMAND_SUFFIX = ".signer"
VARIABLE = "TIDEGATE_PASSPHRASE"
ROLES = (KeyRole.ROOT, KeyRole.OPERATOR, KeyRole.API, KeyRole.GATE, KeyRole.DECISION, KeyRole.BREAKGLASS)
"""The keys of a fleet; nodes have one each beside these (H1)."""
OFFLINE = (KeyRole.ROOT, KeyRole.BREAKGLASS)
"""Keys that no process of the control plane needs."""
SCRYPT_N = 1 << 15
"""32 MiB and a tenth of a second for each guess at a passphrase."""
SIGN_WITHIN_S = 60.0
"""A person may have to touch a device."""

Hex = Annotated[str, Meta(pattern=r"^([0-9a-f]{2})+$(?!\n)", max_length=512)]


class Locked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A private key under a passphrase: ChaCha20-Poly1305 by a key that scrypt makes of it."""

    kdf: Literal["scrypt"] = "scrypt"
    n: Annotated[int, Meta(ge=1 << 14, le=1 << 20)] = SCRYPT_N
    salt: Hex
    nonce: Hex
    key: Hex


class Command(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a ``.signer`` file says. The command reads the message from its standard input and writes the signature, as 64 bytes
    or in base64.
    """

    public: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
    command: Annotated[tuple[str, ...], Meta(min_length=1)]


class CommandSigner(Struct, frozen=True):
    """Signs by asking a command; what it answers is verified before it is used."""

    key_id: str
    settings: Command

    def sign(self, message: bytes) -> bytes:
        """Return the signature. Problem where the command fails or signs with another key."""
        what, command = f"the signer of {self.key_id}", self.settings.command
        try:
            # The command is the owner's own: read_command refuses a file that others can write.
            done = subprocess.run(command, input=message, capture_output=True, timeout=SIGN_WITHIN_S, check=False)  # noqa: S603
        except OSError as error:
            raise Problem(f"{what}: {command[0]}: {error.strerror}", "see the command in its .signer file") from error
        except subprocess.TimeoutExpired as error:
            raise Problem(f"{what} gave no signature within {SIGN_WITHIN_S:g} s", "try again") from error
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip().splitlines()
            raise Problem(f"{what} ended with code {done.returncode}{': ' + told[-1] if told else ''}", "mend what it says")
        signature = done.stdout
        if len(signature) != 64:
            with contextlib.suppress(binascii.Error, ValueError):
                signature = base64.b64decode(signature.strip(), validate=True)
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.settings.public)).verify(signature, message)
        except InvalidSignature as error:
            raise Problem(
                f"{what} signed with another key than {self.settings.public[:16]}", "ask the device for that key"
            ) from error
        return signature

    def public(self, role: KeyRole, node: str = "") -> PublicKey:
        """Return the public half, as it stands in a key document."""
        return PublicKey(id=self.key_id, role=role, public=self.settings.public, node=node)


def make_key(path: Path, passphrase: str = "") -> Signer:
    """Make a private key and write it, mode 0600. Problem where the file is there already: a key is never overwritten."""
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes_raw().hex().encode()
    write_private(path, (encode(_lock(text, passphrase)) if passphrase else text) + b"\n")
    return Signer(path.stem, private)


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that its owner alone can read. Problem where it is there already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Problem(f"{path} exists; a key is never overwritten", "use it, or move it away first") from error
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_key(path: Path) -> Signer:
    """Return the private key in a file; asks for its passphrase where it has one.

    Problem where it is missing, torn, or where others than its owner can read it.
    """
    data = read_guarded(path, 0o077, "is a private key and others can read it", f"chmod 600 {path}").strip()
    try:
        if data.startswith(b"{"):
            data = _unlock(path, decode_strict(data, Locked))
        return Signer(path.stem, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(data.decode())))
    except ValueError as error:
        raise Problem(
            f"{path} holds no private key of 64 hexadecimal digits", "restore it from a copy, or enrol a new key"
        ) from error


def read_command(path: Path) -> CommandSigner:
    """Return the signer that a ``.signer`` file names. Problem where it says nothing sound, or where others can change it."""
    data = read_guarded(path, 0o022, "names a command that signs and others can write it", f"chmod go-w {path}")
    try:
        return CommandSigner(path.stem, convert(parse_yaml(data), Command))
    except (Malformed, NotYaml) as error:
        raise Problem(f"{path}: {error}", "write public: <64 hexadecimal digits> and command: [program, argument]") from error


def find_signer(folder: Path, name: str) -> Signs | None:
    """Return what signs under a name: the key, or the command, that a folder holds; None where it holds neither."""
    if (folder / f"{name}{SUFFIX}").exists():
        return read_key(folder / f"{name}{SUFFIX}")
    if (folder / f"{name}{COMMAND_SUFFIX}").exists():
        return read_command(folder / f"{name}{COMMAND_SUFFIX}")
    return None


def new_passphrase() -> str:
    """Return a passphrase for new keys, from the environment or typed twice. Problem where there is neither."""
    given = os.environ.get(VARIABLE, "")
    if given or not sys.stdin.isatty():
        return given or _ask("new keys")
    typed = _ask("new keys")
    if getpass.getpass("the same again: ") != typed:
        raise Problem("the two are not the same", "try again")
    return typed


def make_root(fleet: str, signers: dict[KeyRole, Signer], issued_ms: int) -> bytes:
    """Return the signed key document, version 1, of a fleet's first keys."""
    keys = tuple(signers[role].public(role) for role in ROLES)
    return seal(Root(fleet=fleet, version=1, keys=keys, issued_ms=issued_ms), signers[KeyRole.ROOT])


def _lock(secret: bytes, passphrase: str) -> Locked:
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    cipher = ChaCha20Poly1305(_stretch(passphrase, salt, SCRYPT_N))
    return Locked(salt=salt.hex(), nonce=nonce.hex(), key=cipher.encrypt(nonce, secret, None).hex())


def _unlock(path: Path, locked: Locked) -> bytes:
    passphrase = os.environ.get(VARIABLE, "") or _ask(str(path))
    cipher = ChaCha20Poly1305(_stretch(passphrase, bytes.fromhex(locked.salt), locked.n))
    try:
        return cipher.decrypt(bytes.fromhex(locked.nonce), bytes.fromhex(locked.key), None)
    except InvalidTag as error:
        raise Problem(f"{path}: this is not its passphrase", "try again") from error


def _stretch(passphrase: str, salt: bytes, n: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=n, r=8, p=1).derive(passphrase.encode())


def _ask(whose: str) -> str:
    if not sys.stdin.isatty():
        raise Problem(f"{whose}: a passphrase is needed", f"type it on a terminal, or set {VARIABLE}")
    typed = getpass.getpass(f"passphrase of {whose}: ")
    if not typed:
        raise Problem("no passphrase was typed", "try again")
    return typed
