"""A mapping of versions behaves like a dictionary that is copied at every change, and costs as much as what changes."""

import gc
import tracemalloc
import weakref

from hypothesis import given
from hypothesis import strategies as st
from tests.wire.test_keys import FIRST, enrolment

from tidegate.wire.documents import KeyRole, PublicKey
from tidegate.wire.envelope import Trust
from tidegate.wire.grown import Grown
from tidegate.wire.keys import enrol

CHANGES = st.lists(st.tuples(st.integers(0, 200), st.sampled_from("abcd"), st.none() | st.integers()), max_size=200)
"""Of which version so far (by number), which key, and what; None: it goes."""


@given(CHANGES)
def test_every_version_is_what_a_copied_dictionary_would_be(changes: list[tuple[int, str, int | None]]) -> None:
    versions: list[tuple[Grown[str, int], dict[str, int]]] = [(Grown({}), {})]
    for number, key, value in changes:
        grown, plain = versions[number % len(versions)]
        after = {name: one for name, one in plain.items() if name != key} | ({key: value} if value is not None else {})
        versions.append((grown.put(key, value) if value is not None else grown.drop(key), after))
    for grown, plain in versions:
        assert (grown, dict(grown), len(grown)) == (plain, plain, len(plain))
        assert [grown.get(key) for key in "abcd"] == [plain.get(key) for key in "abcd"]


class Thing:
    """What can be seen to be gone."""


def test_an_empty_one_from_which_many_begin_keeps_nothing_of_theirs() -> None:
    empty: Grown[str, Thing] = Grown({})
    thing = Thing()
    gone = weakref.ref(thing)
    assert len(empty.put("a", thing)) == 1
    del thing
    gc.collect()
    assert (gone(), dict(empty)) == (None, {})


@given(CHANGES)
def test_it_is_walked_through_like_a_dictionary_also_while_it_grows(changes: list[tuple[int, str, int | None]]) -> None:
    grown, plain = Grown[str, int]({}), dict[str, int]()
    for _, key, value in changes:
        walk, before = iter(grown.items()), plain
        grown = grown.put(key, value) if value is not None else grown.drop(key)
        plain = {name: one for name, one in plain.items() if name != key} | ({key: value} if value is not None else {})
        assert dict(walk) == before
    assert (dict(grown.items()), sorted(grown.values()), set(grown)) == (plain, sorted(plain.values()), set(plain))
    assert (len(grown.items()), len(grown.values()), (next(iter(plain.items()), ("x", 0)) in grown.items())) == (
        len(plain),
        len(plain),
        bool(plain),
    )


def enrolled(nodes: int) -> Trust:
    """A fleet of so many nodes, enrolled one by one."""
    trust = FIRST
    for number in range(nodes):
        trust = enrol(trust, enrolment(f"n{number}", key=key_of(number)))
    return trust


def key_of(number: int) -> PublicKey:
    return PublicKey(id=f"k{number}", role=KeyRole.NODE, public=f"{number:064x}", node=f"n{number}")


def taken_bytes(trust: Trust, numbers: range) -> list[int]:
    """What enrolling some nodes more takes, each by its own, be it given back or not; the least first."""
    found = []
    for told in [enrolment(f"n{number}", key=key_of(number)) for number in numbers]:
        tracemalloc.start()
        try:
            trust = enrol(trust, told)
            found.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return sorted(found)


def test_who_is_enrolled_after_thousands_costs_no_more_than_who_was_first() -> None:
    few, many = enrolled(100), enrolled(4_000)
    # The median of some: now and then a table grows, or the newest version goes on without what was replaced.
    costs = [taken_bytes(trust, range(10_000, 10_009))[4] for trust in (few, many)]
    assert 0 < costs[1] < 2 * costs[0]
    assert len(many.nodes()) == len(many.enrolments) == 4_000


def test_retired_and_enrolled_anew_costs_no_more_for_having_happened_often() -> None:
    trust = enrolled(10)
    for at in range(2_000):
        trust = enrol(trust, enrolment("n3", issued_ms=at, key=key_of(3), retired=at % 2 == 0))
    assert (len(trust.nodes()), taken_bytes(trust, range(11, 12))[0] < 64 << 10) == (10, True)
