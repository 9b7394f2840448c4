"""Private keys are their owner's alone and never overwritten."""

import io
import json
import stat
import sys
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tidegate.runtime.keys import ROLES, find_signer, make_key, make_root, read_command, read_key
from tidegate.runtime.problem import Problem
from tidegate.runtime.trust import read_trust
from tidegate.wire.documents import KeyRole


def test_a_key_is_read_back_under_the_name_of_its_file(tmp_path: Path) -> None:
    made = make_key(tmp_path / "keys" / "operator.key")
    read = read_key(tmp_path / "keys" / "operator.key")
    assert read.key_id == "operator"
    assert read.public(KeyRole.OPERATOR) == made.public(KeyRole.OPERATOR)


def test_a_new_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    make_key(tmp_path / "a.key")
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    make_key(tmp_path / "a.key")
    before = (tmp_path / "a.key").read_text()
    with pytest.raises(Problem, match="never overwritten"):
        make_key(tmp_path / "a.key")
    assert (tmp_path / "a.key").read_text() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666, 0o601])
def test_a_key_that_others_can_reach_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.key"
    make_key(path)
    path.chmod(mode)
    with pytest.raises(Problem) as caught:
        read_key(path)
    assert f"mode {mode:04o}" in caught.value.what
    assert caught.value.remedy == f"run: chmod 600 {path}"


@pytest.mark.parametrize("text", ["", "00", "z" * 64, "0" * 63, "0" * 66])
def test_a_torn_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.key"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(Problem, match="no private key"):
        read_key(path)


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        read_key(tmp_path / "a.key")
    assert "tidegate init" in caught.value.remedy


def test_the_first_key_document_vouches_for_every_role(tmp_path: Path) -> None:
    signers = {role: make_key(tmp_path / f"{role}.key") for role in ROLES}
    (tmp_path / "root.json").write_bytes(make_root("local", signers, 1))
    trust = read_trust(tmp_path / "root.json")
    assert (trust.fleet, trust.root_version) == ("local", 1)
    assert {key.role for key in trust.keys.values()} == set(ROLES)


def test_an_altered_key_document_is_refused(tmp_path: Path) -> None:
    signers = {role: make_key(tmp_path / f"{role}.key") for role in ROLES}
    other = {role: make_key(tmp_path / "other" / f"{role}.key") for role in ROLES}
    signed, forged = make_root("local", signers, 1), make_root("local", other, 1)
    begin = b'"payload":"'
    payload = forged.split(begin)[1].split(b'"')[0]
    (tmp_path / "root.json").write_bytes(signed.replace(signed.split(begin)[1].split(b'"')[0], payload))
    with pytest.raises(Problem, match="no valid signature"):
        read_trust(tmp_path / "root.json")


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_key_document_that_others_can_write_is_no_anchor_of_trust(tmp_path: Path, mode: int) -> None:
    signers = {role: make_key(tmp_path / f"{role}.key") for role in ROLES}
    path = tmp_path / "root.json"
    path.write_bytes(make_root("local", signers, 1))
    path.chmod(mode)
    with pytest.raises(Problem) as caught:
        read_trust(path)
    assert (f"mode {mode:04o}" in caught.value.what, caught.value.remedy) == (True, f"run: chmod go-w {path}")


# under a passphrase


def test_a_locked_key_says_nothing_of_itself_and_opens_by_its_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_key(tmp_path / "a.key", "open sesame")
    text = (tmp_path / "a.key").read_text()
    assert made.private.private_bytes_raw().hex() not in text
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    monkeypatch.setenv("TIDEGATE_PASSPHRASE", "open sesame")
    assert read_key(tmp_path / "a.key").public(KeyRole.ROOT) == made.public(KeyRole.ROOT)


BROKEN_LOCKS = {
    "another passphrase": ({}, "closed sesame", "not its passphrase"),
    "an altered key": ({"key": "00" * 80}, "open sesame", "not its passphrase"),
    "a cheap derivation": ({"n": 2}, "open sesame", "holds no private key"),
    "an endless derivation": ({"n": 1 << 40}, "open sesame", "holds no private key"),
    "an unknown field": ({"hint": "sesame"}, "open sesame", "holds no private key"),
}


@pytest.mark.parametrize(("changes", "passphrase", "told"), BROKEN_LOCKS.values(), ids=BROKEN_LOCKS)
def test_a_lock_that_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, passphrase: str, told: str
) -> None:
    path = tmp_path / "a.key"
    make_key(path, "open sesame")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    monkeypatch.setenv("TIDEGATE_PASSPHRASE", passphrase)
    with pytest.raises(Problem, match=told):
        read_key(path)


def test_without_a_terminal_the_passphrase_is_asked_of_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_key(tmp_path / "a.key", "open sesame")
    monkeypatch.delenv("TIDEGATE_PASSPHRASE", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO("open sesame"))
    with pytest.raises(Problem, match="TIDEGATE_PASSPHRASE"):
        read_key(tmp_path / "a.key")


# by a command


def device(path: Path, public: str, program: str) -> Path:
    path.write_text(json.dumps({"public": public, "command": [sys.executable, "-c", program]}))
    path.chmod(0o600)
    return path


SIGN = """
import sys, base64
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as Key
made = Key.from_private_bytes(bytes.fromhex("{secret}")).sign(sys.stdin.buffer.read())
sys.stdout.buffer.write({shape})
"""
ANSWERS = {
    "64 bytes": ("made", None),
    "base64": ("base64.b64encode(made) + b'\\n'", None),
    "half of it": ("made[:32]", "another key"),
    "nothing": ("b''", "another key"),
    "words": ("b'no such key'", "another key"),
    "another signature": ("bytes(64)", "another key"),
    "a failure": ("sys.exit('card is not there')", "card is not there"),
}


@pytest.mark.parametrize(("shape", "told"), ANSWERS.values(), ids=ANSWERS)
def test_what_a_command_answers_is_verified_before_it_is_used(tmp_path: Path, shape: str, told: str | None) -> None:
    key = make_key(tmp_path / "other" / "a.key")
    public = key.public(KeyRole.OPERATOR).public
    program = SIGN.format(secret=key.private.private_bytes_raw().hex(), shape=shape)
    signer = read_command(device(tmp_path / "card.signer", public, program))
    assert (signer.key_id, signer.public(KeyRole.OPERATOR).public) == ("card", public)
    if told is not None:
        with pytest.raises(Problem, match=told):
            signer.sign(b"plan")
        return
    signature = signer.sign(b"plan")
    verifier = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    verifier.verify(signature, b"plan")
    with pytest.raises(InvalidSignature):
        verifier.verify(signature, b"another plan")


def test_a_command_that_is_not_there_or_that_others_can_write_is_refused(tmp_path: Path) -> None:
    path = device(tmp_path / "card.signer", "ab" * 32, "")
    path.write_text(json.dumps({"public": "ab" * 32, "command": ["/nowhere/sign"]}))
    with pytest.raises(Problem, match="/nowhere/sign"):
        read_command(path).sign(b"")
    path.chmod(0o622)
    with pytest.raises(Problem, match="others can write it"):
        read_command(path)


@pytest.mark.parametrize("text", ["", "[]", "public: ab", '{"public": "AB", "command": []}', "command: [x]", ": :"])
def test_a_signer_file_that_says_nothing_sound_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.signer"
    path.write_text(text)
    with pytest.raises(Problem, match=r"card\.signer"):
        read_command(path)


def test_a_name_without_key_or_command_signs_nothing(tmp_path: Path) -> None:
    assert find_signer(tmp_path, "nobody") is None
