"""Arrays by name: rows that follow their nodes when a fleet changes. Plain numpy in, plain numpy out, nothing in place."""

from collections.abc import Sequence
from typing import Any, TypeVar, get_origin

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidegate.detect.drift.metrics import Floats

Rows = TypeVar("Rows", NDArray[np.float32], NDArray[np.float64])


def places(names: Sequence[str], known: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return where each name stands among the known ones, -1 where it does not."""
    at = {name: place for place, name in enumerate(known)}
    return np.array([at.get(name, -1) for name in names], dtype=np.int64)


def realigned(rows: Floats, names: Sequence[str], known: Sequence[str]) -> Floats:
    """Return rows in the order of ``names``; zeros for a name that was not known."""
    if names == known:
        return rows
    at = places(names, known)
    if not len(known):
        return np.zeros((len(names), *rows.shape[1:]), dtype=rows.dtype)
    found: Floats = np.where((at >= 0).reshape(-1, *(1,) * (rows.ndim - 1)), rows[at], 0.0)
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
    """Return an array as (type, shape, bytes): msgspec's hook for what it does not know."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes())
    raise TypeError(f"{type(value).__name__} does not go into a checkpoint")


def unpack(kind: type, value: Any) -> object:
    """Return the array that ``pack`` packed; ValidationError where it is none."""
    if get_origin(kind) is not np.ndarray:
        raise TypeError(f"{kind} does not come from a checkpoint")
    try:
        dtype, shape, data = value
        return np.frombuffer(data, dtype=dtype).reshape(shape)
    except (TypeError, ValueError) as error:
        raise msgspec.ValidationError(f"not an array: {error}") from error
