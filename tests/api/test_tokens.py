"""Tokens as they are now: how soon the file is read again, and when they end."""

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


def test_a_token_ends_by_the_wall_clock_for_its_end_is_a_date(tmp_path, clock):
    text = make_token(tmp_path / FILE, "ci", (), Grant(expires_ms=clock.now_ms() + 60_000))
    tokens = Tokens(tmp_path / FILE, clock)
    clock.elapse(59.0)
    assert tokens.token_of(text) is not None
    clock.set_wall(1.0)
    assert (tokens.token_of(text), tokens.named("ci")) == (None, None)
