"""A mapping that never changes, from which the next one is made in constant time: for what is folded one record at a time and is
looked at in between, as the keys of ten thousand nodes are.
"""

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_SLACK = 64


class _Gone:
    """Stands where a key was taken out."""


_GONE = _Gone()


class _Store(Generic[K, V]):
    """What versions that follow each other share: of each key its values, each with the version that set it."""

    __slots__ = ("newest", "values", "written")

    def __init__(self, values: Mapping[K, V]) -> None:
        self.values: dict[K, list[tuple[int, V | _Gone]]] = {key: [(0, value)] for key, value in values.items()}
        self.newest = 0
        self.written = len(self.values)


class Grown(Mapping[K, V]):
    """One version. The newest hands its store on; a change of an older one copies it, so that no version ever sees another.

    >>> one = Grown({"a": 1})
    >>> two = one.put("b", 2).drop("a")
    >>> dict(one), dict(two), one == {"a": 1}
    ({'a': 1}, {'b': 2}, True)
    """

    __slots__ = ("_at", "_size", "_store")

    def __init__(self, values: Mapping[K, V]) -> None:
        self._store = _Store(values)
        self._at = 0
        self._size = len(values)

    @classmethod
    def of(cls, values: Mapping[K, V]) -> "Grown[K, V]":
        """Return the same mapping as one of these: itself where it is."""
        return values if isinstance(values, Grown) else cls(values)

    def put(self, key: K, value: V) -> "Grown[K, V]":
        """Return the mapping with a value under a key."""
        return self._next(key, value, self._size + (key not in self))

    def drop(self, key: K) -> "Grown[K, V]":
        """Return the mapping without a key; itself where there is none."""
        return self._next(key, _GONE, self._size - 1) if key in self else self

    def __getitem__(self, key: K) -> V:
        """Return the value of a key. KeyError where there is none."""
        for at, value in reversed(self._store.values.get(key, ())):
            if at <= self._at:
                if isinstance(value, _Gone):
                    break
                return value
        raise KeyError(key)

    def __iter__(self) -> Iterator[K]:
        """Yield the keys."""
        return (key for key, _ in self.pairs())

    def items(self) -> ItemsView[K, V]:
        """Return the keys with their values."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """Return the values."""
        return _Values(self)

    def pairs(self) -> Iterator[tuple[K, V]]:
        """Yield each key with its value, looked up once: to walk through costs about what a dictionary's copy does."""
        for key, values in list(self._store.values.items()):
            for at, value in reversed(values):
                if at <= self._at:
                    if not isinstance(value, _Gone):
                        yield key, value
                    break

    def __len__(self) -> int:
        """Return how many there are."""
        return self._size

    def __repr__(self) -> str:
        """Return it as a mapping looks."""
        return f"Grown({dict(self)})"

    def _next(self, key: K, value: V | _Gone, size: int) -> "Grown[K, V]":
        store = self._store
        # What was replaced is kept for older versions; from time to time the newest goes on without it. An empty one hands
        # nothing on: it may be a default from which many begin, and would keep what is theirs.
        if not self._size or self._at != store.newest or store.written > 2 * self._size + _SLACK:
            store = _Store(self)
        store.newest += 1
        store.written += 1
        store.values.setdefault(key, []).append((store.newest, value))
        found: Grown[K, V] = Grown.__new__(Grown)
        found._store, found._at, found._size = store, store.newest, size
        return found


class _Items(ItemsView[K, V]):
    """Of one version."""

    def __init__(self, grown: Grown[K, V]) -> None:
        super().__init__(grown)
        self._grown = grown

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._grown.pairs()


class _Values(ValuesView[V]):
    """Of one version."""

    def __init__(self, grown: Grown[Any, V]) -> None:
        super().__init__(grown)
        self._grown = grown

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in self._grown.pairs())


__all__ = ["Grown"]
