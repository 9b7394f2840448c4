"""``tidegate export`` and ``tidegate restore --check`` as a person types them."""

from pathlib import Path

import pytest
from tests.cli.kit import World

import tidegate.cli.archive
from tidegate.cli.session import Exit


def test_a_file_is_made_checked_and_refused_when_it_was_altered(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidegate.cli.archive, "open_log", world.open_log)
    assert world.type("policy", "freeze", "calm", "--reason", "audit").code == 0
    file = tmp_path / "fleet.archive"
    made = world.type("export", str(file), "-o", "json")
    assert (made.code, made.err) == (0, "")
    assert made.json["records"]["plans"] == 1
    again = world.type("export", str(file))
    assert again.code == Exit.USAGE
    assert "never written over" in again.err
    checked = world.type("restore", str(file), "--check", "--sha256", made.json["sha256"])
    assert (checked.code, checked.err) == (0, "")
    assert made.json["sha256"] in checked.out
    assert "each follows from the one before" in checked.out
    file.write_bytes(file.read_bytes()[:-1])
    torn = world.type("restore", str(file), "--check")
    assert torn.code == Exit.FAILED
    assert "ends too early" in torn.err
    assert world.type("restore", str(tmp_path / "none"), "--check").code == Exit.USAGE
