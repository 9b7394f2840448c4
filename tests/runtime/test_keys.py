"""Private keys are their owner's alone and never overwritten."""

import stat
from pathlib import Path

import pytest

from tidegate.runtime.keys import ROLES, make_key, make_root, read_key, read_trust
from tidegate.runtime.problem import Problem
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
