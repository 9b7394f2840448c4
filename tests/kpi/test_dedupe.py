import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kpi.rows import record, row

from tidegate.kpi import caps as module
from tidegate.kpi.caps import Named
from tidegate.kpi.columns import read
from tidegate.kpi.dedupe import FORGET_AFTER_MS, HOLES_MAX, Dedupe, Seen


def admitted(dedupe, *rows, clock_ms=0):
    """Sequence numbers of the rows of one record that are new."""
    new = dedupe.admit(read(record(rows)), clock_ms, Named()).new
    return [one.seq for one, is_new in zip(rows, new, strict=True) if is_new]


@given(st.permutations(list(range(1, 40))), st.lists(st.integers(1, 39), max_size=60), st.integers(1, 20))
def test_whatever_the_order_and_the_records_each_row_is_admitted_exactly_once(order, repeats, size):
    dedupe, seqs = Dedupe(), [*order, *repeats]
    found = []
    for at in range(0, len(seqs), size):
        found += admitted(dedupe, *(row(seq=seq) for seq in seqs[at : at + size]))
    assert sorted(found) == list(range(1, 40))


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 30)), max_size=60), st.integers(1, 20), st.integers(0, 60))
def test_it_is_a_set_of_what_was_seen_also_across_a_checkpoint(rows, size, cut):
    dedupe, seen = Dedupe(), set()
    for at in range(0, len(rows), size):
        batch = rows[at : at + size]
        new = dedupe.admit(read(record([row(f"n{node}", seq=seq) for node, seq in batch])), 0, Named()).new.tolist()
        for key, is_new in zip(batch, new, strict=True):
            # Of two equal rows in one record one is admitted, whichever.
            assert not (is_new and key in seen)
            seen |= {key} if is_new else set()
        assert set(batch) <= seen
        if at <= cut < at + size:
            kept = [Seen(one.key, one.high, one.last_ms, one.holes) for one in dedupe.known()]
            dedupe = Dedupe()
            for one in kept:
                dedupe.recall(one)


def test_boots_and_services_of_one_node_are_told_apart():
    dedupe = Dedupe()
    rows = [row(), row(boot="b2"), row(service="cart"), row("n2")]
    assert admitted(dedupe, *rows) == [1] * 4
    assert admitted(dedupe, *rows) == []


def test_a_boot_that_falls_silent_is_forgotten_after_a_minute_of_judge_clock_and_its_slot_used_again():
    dedupe = Dedupe()
    admitted(dedupe, row(), row("n2", seq=7))
    dedupe.forget(FORGET_AFTER_MS)
    assert len(dedupe) == 2
    dedupe.forget(FORGET_AFTER_MS + 1)
    assert len(dedupe) == 0
    assert admitted(dedupe, row("n3", seq=5), row("n4"), row("n5")) == [5, 1, 1]
    assert admitted(dedupe, row("n3", seq=4), row("n4"), row("n5")) == [4]


def test_a_judge_that_begins_late_admits_rows_from_before_the_first_one_it_saw():
    dedupe = Dedupe()
    assert admitted(dedupe, row(seq=5_000)) == [5_000]
    assert admitted(dedupe, row(seq=4_999), row(seq=5_000)) == [4_999]


def test_gaps_are_remembered_as_ranges_and_bounded_in_number():
    dedupe = Dedupe()
    for jump in range(3 * HOLES_MAX):
        admitted(dedupe, row(seq=1 + jump * 1_000_000))
    (seen,) = dedupe.known()
    assert len(seen.holes) <= HOLES_MAX
    assert admitted(dedupe, row(seq=seen.high - 500), row(seq=seen.high - 500)) == [seen.high - 500]


def test_boots_beyond_the_bound_are_not_admitted_until_others_fall_silent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BOOTS_MAX", 2)
    dedupe = Dedupe()
    assert admitted(dedupe, row("n1"), row("n2"), row("n3")) == [1, 1]
    assert admitted(dedupe, row("n3", seq=2), row("n1", seq=2)) == [2]
    dedupe.forget(FORGET_AFTER_MS + 1)
    assert admitted(dedupe, row("n3", seq=3)) == [3]
