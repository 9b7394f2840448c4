"""Exposures and outcomes: what goes out comes back, what is neither is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.wire.codec import Malformed, encode
from tidegate.wire.exposures import Exposure, Outcome, exposure_of, user_hash

EXPOSURE = Exposure(
    set_id="web",
    flag="dark",
    variant="on",
    reason="STATIC",
    generation=7,
    user=user_hash("web", "kim"),
    at_ms=1,
    node="n1",
    service="shop",
)
OUTCOME = Outcome(metric="bought", set_id="web", user=user_hash("web", "kim"), value=1.5, at_ms=1)


@pytest.mark.parametrize("event", [EXPOSURE, OUTCOME])
def test_what_goes_out_comes_back(event):
    assert exposure_of(encode(event)) == event


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b'{"kind":"other"}',
        encode(EXPOSURE).replace(EXPOSURE.user.encode(), b"kim@example.com"),
        encode(OUTCOME).replace(b"1.5", b"null"),
        encode(OUTCOME).replace(b'"web"', b'"a/b"'),
    ],
)
def test_what_is_neither_is_refused(value):
    with pytest.raises(Malformed):
        exposure_of(value)


def test_a_value_that_is_no_number_does_not_go_out():
    with pytest.raises(Malformed):
        encode(Outcome(metric="m", set_id="web", user=OUTCOME.user, value=float("nan"), at_ms=1))


@given(st.text(), st.text(), st.text())
def test_users_are_told_apart_within_a_salt_and_not_joined_across_two(salt, one, other):
    assert (user_hash(salt, one) == user_hash(salt, other)) == (one == other)
    assert user_hash(salt, one) != user_hash(f"{salt}'", one)
