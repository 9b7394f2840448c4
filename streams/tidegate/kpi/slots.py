"""Slots: a key's place in arrays, so that a whole record is folded without a look at each row."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def found_or_added(slots: Mapping[Key, int], keys: Sequence[Key], add: Callable[[Key, int], int]) -> list[int]:
    """Return the slot of each key; ``add`` gives a new one, told with its place in ``keys``, its slot. A key may stand twice."""
    found = list(map(slots.get, keys))
    if None not in found:
        return found  # type: ignore[return-value] # mypy does not see what the line above says
    return [slots[key] if key in slots else add(key, at) for at, key in enumerate(keys)]
