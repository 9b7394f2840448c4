"""Arrays in a checkpoint: whatever goes in comes back, bit by bit, and what did not change takes no room."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from numpy.typing import NDArray

from tidegate.detect.drift.arrays import pack, unpack

ENCODER = msgspec.msgpack.Encoder(enc_hook=pack)
DECODER = msgspec.msgpack.Decoder(NDArray[np.float64], dec_hook=unpack)
KINDS = st.sampled_from((np.float32, np.float64, np.int64, np.uint8))
SHAPES = nps.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


@given(nps.arrays(KINDS, SHAPES), st.lists(st.integers(0, 3), max_size=5))
def test_an_array_comes_back_bit_by_bit(array, slices):
    if len(array):
        array = array[[at % len(array) for at in slices]]
    found: Any = DECODER.decode(ENCODER.encode(array))
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_zeros_with_signs_and_numbers_that_are_none_come_back_too():
    array = np.array([0.0, -0.0, np.nan, np.inf]).reshape(4, 1, 1)
    assert DECODER.decode(ENCODER.encode(array)).tobytes() == array.tobytes()


def test_rows_that_did_not_change_take_no_room():
    marks = np.random.default_rng(1).random((20, 2, 40, 8))
    marks[5:, :, :30] = marks[5, :, :30]
    assert len(ENCODER.encode(marks)) < 0.5 * marks.nbytes


@pytest.mark.parametrize("torn", [3, [], ["<f8", [2, 2, 2], b"1234"], ["<f8", [2, 2, 2], b"12345678", b""], ["what", [1], b""]])
def test_what_is_no_array_is_refused(torn):
    with pytest.raises(msgspec.ValidationError):
        DECODER.decode(msgspec.msgpack.encode(torn))
