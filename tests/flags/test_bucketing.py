import cbor2
import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.flags.bucketing import draw, hash_v2, hash_v3
from tidegate.wire.flags import Bucketing

V2, V3 = Bucketing.V2, Bucketing.V3
EVEN = [[str(number), 1] for number in range(100)]


def data(user, flag="checkout-v2"):
    return {"targetingKey": user, "$flagd": {"flagKey": flag}}


@pytest.mark.parametrize(
    ("user", "generation", "number", "bucket"),
    [("u4", V2, 181610295, 4), ("u4", V3, None, 12), ("u5", V2, 3876683915, 90), ("u5", V3, 262304708, 6)],
)
def test_published_vectors(user, generation, number, bucket):
    found = (hash_v2 if generation is V2 else hash_v3)(EVEN, data(user))
    assert number in (None, found)
    assert draw(EVEN, data(user), generation) == (str(bucket), bucket, 100)


@given(st.text(max_size=400), st.text(min_size=1, max_size=400))
def test_the_third_generation_is_canonical_cbor_of_both_keys(flag, user):
    want = mmh3.hash(cbor2.dumps([flag, user], canonical=True), signed=False)
    assert hash_v3([["a", 1]], data(user, flag)) == want


@given(st.text(max_size=100), st.text(min_size=1, max_size=100))
def test_the_second_generation_is_both_keys_in_one(flag, user):
    assert hash_v2([["a", 1]], data(user, flag)) == mmh3.hash(flag + user, signed=False)
    assert hash_v2([flag + user, ["a", 1]], {}) == mmh3.hash(flag + user, signed=False)


@pytest.mark.parametrize("first", [5, 5.0, True, {"a": 1.0}])
def test_the_third_generation_deals_by_values_of_any_type_and_a_whole_number_is_one_number(first):
    want = {"a": 1} if isinstance(first, dict) else first if isinstance(first, bool) else 5
    assert hash_v3([first, ["a", 1]], {}) == mmh3.hash(cbor2.dumps(want, canonical=True), signed=False)


@pytest.mark.parametrize("generation", Bucketing)
@pytest.mark.parametrize(
    "shares",
    [
        [],
        [["a", 0]],
        [["a", "1"]],
        [["a", 1.0]],
        [["a", True]],
        [["a", 1], []],
        [["a", 1], "b"],
        [["a", 1, 1]],
        [["a", 1 << 30], ["b", 1 << 30]],
        [None, ["a", 1]],
    ],
)
def test_a_share_that_cannot_be_read_is_nobodys(shares, generation):
    assert draw(shares, data("u"), generation) is None


@pytest.mark.parametrize("generation", Bucketing)
@pytest.mark.parametrize("user", [None, "", 5])
def test_who_has_no_key_is_in_no_share(user, generation):
    assert draw(EVEN, data(user), generation) is None


@given(st.lists(st.integers(-5, 1 << 20), min_size=1, max_size=8), st.text(min_size=1, max_size=20))
def test_a_bucket_lies_in_the_share_it_is_given_and_negative_weights_count_nothing(weights, user):
    found = draw([[place, weight] for place, weight in enumerate(weights)], data(user), V2)
    clamped = [max(0, weight) for weight in weights]
    if sum(clamped) == 0:
        assert found is None
    else:
        begin = sum(clamped[: found.variant])
        assert begin <= found.bucket < begin + clamped[found.variant]
