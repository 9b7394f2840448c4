"""Rows that follow their names; arrays that come back from bytes as they were."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.detect.drift.arrays import grown, pack, places, realigned, unpack
from tidegate.detect.drift.past import Past

names = st.lists(st.text("abcdef", min_size=1, max_size=2), unique=True, max_size=8)


@given(names, names)
def test_rows_follow_their_names_and_new_ones_are_zero(known, wanted):
    rows = np.arange(1.0, 1.0 + 2 * len(known)).reshape(len(known), 2)
    before = rows.copy()
    found = realigned(rows, tuple(wanted), tuple(known))
    for place, name in enumerate(wanted):
        expected = rows[known.index(name)] if name in known else np.zeros(2)
        assert found[place].tolist() == expected.tolist()
    assert np.array_equal(rows, before)
    assert places(wanted, known).tolist() == [known.index(name) if name in known else -1 for name in wanted]


@given(st.integers(0, 4), st.integers(0, 6), st.integers(0, 1))
def test_an_array_grows_behind_and_never_shrinks(size, wanted, axis):
    rows = np.ones((size, size), dtype=np.float32)
    found = grown(rows, axis, wanted)
    assert found.shape[axis] == max(size, wanted)
    assert found.sum() == size * size
    assert found.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_an_array_comes_back_from_bytes_with_type_and_shape(dtype, shape):
    rows = np.random.default_rng(1).random(shape).astype(dtype)
    text = msgspec.msgpack.encode(rows, enc_hook=pack)
    back = msgspec.msgpack.decode(text, type=np.ndarray[tuple[int, ...], np.dtype[np.float64]], dec_hook=unpack)
    assert (back.dtype, back.shape) == (rows.dtype, rows.shape)
    assert np.array_equal(back, rows)
    # Also one that is not laid out in a row.
    assert np.array_equal(msgspec.msgpack.decode(msgspec.msgpack.encode(rows.T, enc_hook=pack))[1], rows.T.shape)


@pytest.mark.parametrize("torn", [3, "text", ["<f8", [2], b"123"], ["<f8", [1]], ["what", [1], b"12345678"]])
def test_what_is_no_array_is_said_to_be_none(torn):
    text = msgspec.msgpack.encode({"minute": torn})
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(text, type=Past, dec_hook=unpack)


def test_what_has_no_place_in_a_checkpoint_is_refused():
    with pytest.raises(TypeError, match="does not go into a checkpoint"):
        pack(object())
    with pytest.raises(TypeError, match="does not come from a checkpoint"):
        unpack(dict, {})
