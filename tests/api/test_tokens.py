"""Tokens as they are now: how soon the file is read again, and when they end."""

import errno
import os
import stat

import pytest
from tests.api.ahead import Ahead

from tidegate.api.tokens import FILE, LOOK_EVERY_S, Grant, Tokens, make_token, revoke_token
from tidegate.world import SimClock

HOUR_S = 3_600.0


@pytest.fixture
def clock():
    return Ahead(SimClock())


@pytest.mark.parametrize("wall_s", [0.0, HOUR_S, -HOUR_S, -24 * HOUR_S])
def test_a_revoked_token_ends_within_a_second_wherever_the_wall_clock_is_set(tmp_path, clock, wall_s):
    text, _ = make_token(tmp_path / FILE, "ci"), make_token(tmp_path / FILE, "other")
    tokens = Tokens(tmp_path / FILE, clock)
    revoke_token(tmp_path / FILE, "ci")
    clock.set_wall(wall_s)
    clock.elapse(LOOK_EVERY_S - 0.01)
    assert tokens.token_of(text) is not None
    clock.elapse(0.01)
    assert (tokens.token_of(text), tokens.named("ci")) == (None, None)


@pytest.mark.parametrize("wall_s", [0.0, -HOUR_S])
def test_the_first_token_closes_what_was_open_wherever_the_wall_clock_is_set(tmp_path, clock, wall_s):
    tokens = Tokens(tmp_path / FILE, clock)
    assert not tokens.required
    make_token(tmp_path / FILE, "ci")
    clock.set_wall(wall_s)
    clock.elapse(LOOK_EVERY_S)
    assert tokens.required


def test_only_the_owner_of_the_folder_can_read_the_file_whoever_writes_it(tmp_path):
    """Revoked from root's shell it was root's, and the API, another user, went on with the tokens from before."""
    owner = os.geteuid() or 65_534
    os.chown(tmp_path, owner, -1)
    make_token(tmp_path / FILE, "ci")
    revoke_token(tmp_path / FILE, "ci")
    found = (tmp_path / FILE).stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (owner, 0o600)


@pytest.mark.parametrize("known", [True, False])
def test_while_the_file_cannot_be_read_no_token_is_good(tmp_path, clock, known):
    path, kept = tmp_path / FILE, tmp_path / "kept"
    text = make_token(path if known else kept, "ci")
    tokens = Tokens(path, clock)
    if known:
        path.rename(kept)
    path.mkdir()  # root can read any file, but no folder as one
    clock.elapse(LOOK_EVERY_S)
    assert (tokens.token_of(text), tokens.named("ci"), tokens.required) == (None, None, True)
    path.rmdir()
    kept.rename(path)
    clock.elapse(LOOK_EVERY_S)
    assert tokens.token_of(text) is not None


def test_what_could_not_be_read_for_once_is_read_again(tmp_path, clock, monkeypatch):
    """The file had not changed since, so that no token was good ever again."""
    text = make_token(tmp_path / FILE, "ci")
    tokens = Tokens(tmp_path / FILE, clock)
    make_token(tmp_path / FILE, "other")
    with monkeypatch.context() as broken:
        broken.setattr("tidegate.api.tokens.read_yaml", no_descriptor_left)
        clock.elapse(LOOK_EVERY_S)
        assert tokens.token_of(text) is None
    clock.elapse(LOOK_EVERY_S)
    assert tokens.token_of(text) is not None


def no_descriptor_left(_path):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_link_where_a_token_is_written_leads_nowhere(tmp_path):
    """Root gave the service's user whatever the link led to."""
    victim = tmp_path / "victim"
    victim.write_text("root's")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / f".{FILE}.new").symlink_to(victim)
    make_token(tmp_path / "home" / FILE, "ci")
    assert (victim.read_text(), (tmp_path / "home" / FILE).is_symlink()) == ("root's", False)


def test_a_file_that_is_wrong_closes_nothing(tmp_path, clock):
    text = make_token(tmp_path / FILE, "ci")
    tokens = Tokens(tmp_path / FILE, clock)
    (tmp_path / FILE).write_text("tokens: 5")
    clock.elapse(LOOK_EVERY_S)
    assert tokens.token_of(text) is not None


def test_a_file_that_changed_and_kept_its_time_is_read_again(tmp_path, clock):
    """A copy that keeps times; and one whose owner was mended, for that is no change of its text."""
    path = tmp_path / FILE
    text = make_token(path, "ci")
    tokens, before = Tokens(path, clock), path.stat()
    path.write_text("tokens: []")
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the file system's clock ticks slowly
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.elapse(LOOK_EVERY_S)
    assert tokens.token_of(text) is None


def test_a_token_ends_by_the_wall_clock_for_its_end_is_a_date(tmp_path, clock):
    text = make_token(tmp_path / FILE, "ci", (), Grant(expires_ms=clock.now_ms() + 60_000))
    tokens = Tokens(tmp_path / FILE, clock)
    clock.elapse(59.0)
    assert tokens.token_of(text) is not None
    clock.set_wall(1.0)
    assert (tokens.token_of(text), tokens.named("ci")) == (None, None)
