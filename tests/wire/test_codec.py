import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from tidegate.wire.codec import Malformed, convert, decode, decode_strict, encode, malformed


class Inner(Struct, frozen=True):
    number: float = 0.0


class Thing(Struct, frozen=True):
    name: str
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    named: dict[str, float] = {}


class Closed(Struct, frozen=True, forbid_unknown_fields=True):
    name: str


FINITE = st.floats(allow_nan=False, allow_infinity=False)
THINGS = st.builds(
    Thing,
    name=st.text(max_size=10),
    inner=st.builds(Inner, FINITE),
    many=st.lists(st.builds(Inner, FINITE), max_size=3).map(tuple),
    named=st.dictionaries(st.text(max_size=5), FINITE, max_size=3),
)


@given(THINGS)
def test_json_gives_back_what_went_in(thing):
    assert decode(encode(thing), Thing) == thing
    assert decode_strict(encode(thing), Thing) == thing


@given(THINGS)
def test_equal_values_give_equal_bytes_whatever_the_order_of_their_keys(thing):
    turned = Thing(thing.name, thing.inner, thing.many, dict(reversed(thing.named.items())))
    assert encode(turned) == encode(thing)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("thing", "path"),
    [
        (lambda n: Thing("a", Inner(n)), "inner.number"),
        (lambda n: Thing("a", many=(Inner(1), Inner(n))), "many[1].number"),
        (lambda n: Thing("a", named={"x": n}), "named.x"),
    ],
)
def test_what_is_no_number_never_leaves_and_the_fault_names_its_place(thing, path, number):
    with pytest.raises(Malformed) as raised:
        encode(thing(number))
    assert raised.value.path == path


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"name": 1}',
        b'{"name": "\xff"}',
        b'{"name":"a","inner":{"number":NaN}}',
        b"[" * 9_999,
    ],
)
def test_what_cannot_be_read_is_malformed_and_nothing_else(data):
    for read in (decode, decode_strict):
        with pytest.raises(Malformed):
            read(data, Thing)


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_but_malformed(data):
    for read in (decode, decode_strict):
        try:
            read(data, Thing)
        except Malformed:
            continue


def test_a_fault_names_its_path():
    with pytest.raises(Malformed) as raised:
        decode(b'{"name":"a","many":[{"number":1},{"number":"x"}]}', Thing)
    assert raised.value.path == "many[1].number"
    with pytest.raises(Malformed) as raised:
        convert({"name": "a", "inner": {"number": []}}, Thing)
    assert raised.value.path == "inner.number"


def test_a_fault_in_a_key_names_the_map_that_it_stands_in():
    """A label of a metric was ``key` in `$``."""
    fault = malformed(ValueError("Expected `str`, got `int` - at `key` in `$.gauges`"))
    assert (fault.path, fault.problem) == ("gauges", "Expected `str`, got `int`, as a key")


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "a", "name": "b"}',
        '{"name": "a", "inner": {"number": 1, "number": 2}}',
        '{"name": "a", "unknown": {"x": 1, "x": 1}}',
        '{"name": "a", "n\\u0061me": "b"}',
    ],
)
def test_a_doubled_key_is_refused_in_a_signed_document_however_deep_or_escaped(text):
    assert json.loads(text)
    with pytest.raises(Malformed, match="twice"):
        decode_strict(text.encode(), Thing)


def test_unknown_fields_are_ignored_unless_the_struct_refuses_them():
    data = b'{"name":"a","new":1}'
    assert decode(data, Thing) == Thing("a")
    with pytest.raises(Malformed, match="new"):
        decode(data, Closed)
