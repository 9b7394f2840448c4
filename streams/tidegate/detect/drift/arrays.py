"""Arrays by name: rows that follow their nodes when a fleet changes. Plain numpy in, plain numpy out, nothing in place."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar, get_origin

import msgspec
import numpy as np
from numpy.typing import NDArray

SPARSE_FROM = 2
Rows = TypeVar("Rows", NDArray[np.float32], NDArray[np.float64], NDArray[np.uint8])


def places(names: Sequence[str], known: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return where each name stands among the known ones, -1 where it does not."""
    at = {name: place for place, name in enumerate(known)}
    return np.array([at.get(name, -1) for name in names], dtype=np.int64)


def realigned(rows: Rows, names: Sequence[str], known: Sequence[str]) -> Rows:
    """Return rows in the order of ``names``; zeros for a name that was not known."""
    if names == known:
        return rows
    at = places(names, known)
    if not len(known):
        return np.zeros((len(names), *rows.shape[1:]), dtype=rows.dtype)
    found: Rows = np.where((at >= 0).reshape(-1, *(1,) * (rows.ndim - 1)), rows[at], rows.dtype.type(0))
    return found


def grown(rows: Rows, axis: int, size: int) -> Rows:
    """Return an array with zeros added behind along one axis, up to a size."""
    missing = size - rows.shape[axis]
    if missing <= 0:
        return rows
    width = [(0, 0)] * rows.ndim
    width[axis] = (0, missing)
    return np.pad(rows, width)


def pack(value: object) -> object:
    """Return an array as (type, shape, bytes, which rows): msgspec's hook for what it does not know.

    Of arrays with two axes or more, rows (along the last axis) that are as in the slice before are left out: marks of a node
    that is through with its cold start, gates that are open. Every bit comes back.
    """
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{type(value).__name__} does not go into a checkpoint")
    whole = np.ascontiguousarray(value)
    if whole.ndim < SPARSE_FROM or not whole.size:
        return (whole.dtype.str, whole.shape, whole.tobytes())
    bits = whole.view(f"u{whole.itemsize}")
    told = np.ones(whole.shape[:-1], dtype=np.bool_)
    told[1:] = (bits[1:] != bits[:-1]).any(axis=-1)
    return (whole.dtype.str, whole.shape, whole[told].tobytes(), np.packbits(told).tobytes())


def unpack(kind: type, value: Any) -> object:
    """Return the array that ``pack`` packed; ValidationError where it is none."""
    if get_origin(kind) is not np.ndarray:
        raise TypeError(f"{kind} does not come from a checkpoint")
    try:
        dtype, shape, data, *rows = value
        flat = np.frombuffer(data, dtype=dtype)
        return _spread_out(flat, tuple(shape), rows[0]) if rows else flat.reshape(shape)
    except (TypeError, ValueError, IndexError) as error:
        raise msgspec.ValidationError(f"not an array: {error}") from error


def _spread_out(flat: NDArray[Any], shape: tuple[int, ...], rows: bytes) -> NDArray[Any]:
    """Return the whole array: a row that was left out is that of the slice before."""
    told = np.unpackbits(np.frombuffer(rows, dtype=np.uint8), count=math.prod(shape[:-1])).astype(np.bool_).reshape(shape[:-1])
    number = np.zeros(shape[:-1], dtype=np.int64)
    number[told] = np.arange(int(told.sum()))
    slices = np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 2))
    last = np.maximum.accumulate(np.where(told, slices, 0), axis=0)
    return flat.reshape(-1, shape[-1])[np.take_along_axis(number, last, axis=0)]
