"""What counts of the topic ``flags``: the highest order that a decision key of this fleet stands for (G1, E1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flagfeed.kit import DECISION, FLEET, SECOND, STRANGER, TRUST, flag, root_document

from tidegate.flagfeed import Held
from tidegate.flags.store import Flags
from tidegate.wire.codec import Malformed
from tidegate.wire.documents import Order
from tidegate.wire.flags import topic_key
from tidegate.wire.flagstamps import stamp
from tidegate.wire.reasons import Reason

KEY = "web/dark"


def stamped(value: bytes | None, generation: int = 1, *, key: str = KEY, epoch: int = 1, root_version: int = 1, by=DECISION):
    """A record: key, value, header."""
    return key, value, stamp(topic_key(key), value, Order(root_version, epoch, generation), FLEET, by)


def held(*records, trust=TRUST, sets: frozenset[str] = frozenset()) -> Held:
    found = Held(trust, Flags().put, sets)
    for record in records:
        found.take(*record)
    return found


def value(found: Held, key: str = KEY) -> bytes | None:
    return found.kept[key].value if key in found.kept else None


GOOD = stamped(flag("on"), 5)
OTHER_VALUE = (KEY, flag("off"), GOOD[2])


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ((KEY, flag("off"), None), Reason.BAD_SIGNATURE),
        ((KEY, None, None), Reason.BAD_SIGNATURE),
        ((KEY, flag("off"), b"{}"), Reason.BAD_DOCUMENT),
        (OTHER_VALUE, Reason.BAD_SIGNATURE),
        (("web/light", *GOOD[1:]), Reason.BAD_SIGNATURE),
        (("web dark", *GOOD[1:]), Reason.BAD_DOCUMENT),
        ((None, *GOOD[1:]), Reason.BAD_DOCUMENT),
        (stamped(flag("off"), 9, by=STRANGER), Reason.BAD_SIGNATURE),
        (stamped(b"not json", 9), Reason.BAD_DOCUMENT),
        (stamped(flag("nobody"), 9), Reason.BAD_DOCUMENT),
        (stamped(flag("off"), 5), Reason.BAD_SIGNATURE),
        (stamped(flag("off"), 1, root_version=2), Reason.BAD_SIGNATURE),
    ],
    ids=[
        "no stamp",
        "a tombstone of nobody",
        "a stamp that is none",
        "a stamp over another value",
        "a stamp of another key",
        "no key of a flag",
        "no key",
        "a stranger's stamp",
        "a value that is no definition",
        "a default that is no variant",
        "another value of the same order",
        "an order under a key document that is not there yet",
    ],
)
def test_what_does_not_count_is_counted_and_what_was_known_stays(record, reason):
    found = held(GOOD)
    assert found.take(*record) is None
    assert value(found) == GOOD[1]
    assert found.refused == {reason: 1}


def test_an_older_record_and_the_same_one_again_change_nothing_and_are_no_fault():
    found = held(GOOD, GOOD, stamped(flag("off"), 4), stamped(flag("off"), 9, epoch=0))
    assert value(found) == GOOD[1]
    assert (found.changes, found.refused) == (1, {})


@given(st.permutations(range(1, 7)))
def test_whatever_the_order_of_arrival_the_highest_order_is_kept(generations):
    records = [stamped(flag("on", metadata={"n": generation}), generation) for generation in generations]
    assert held(*records).kept[KEY].order == Order(1, 1, 6)


def test_a_tombstone_takes_the_flag_away_and_an_older_value_does_not_bring_it_back():
    flags = Flags()
    found = Held(TRUST, flags.put)
    for record in (GOOD, stamped(None, 6), GOOD):
        found.take(*record)
    assert flags.sets["web"].flags == {}


def test_only_the_sets_that_are_asked_for_cost_anything():
    found = held(GOOD, stamped(flag(), 1, key="shop/dark"), ("shop/x", b"{}", None), sets=frozenset({"web"}))
    assert set(found.kept) == {KEY}
    assert not found.refused


def test_a_new_decision_key_counts_with_its_key_document_and_what_was_known_stays_meanwhile():
    later = stamped(flag("off"), 1, root_version=2, by=SECOND)
    found = held(GOOD, later)
    assert value(found) == GOOD[1]
    assert found.take_root("2", root_document(2, SECOND, (TRUST.keys["decision"].public,)))
    assert value(found) == GOOD[1]
    found.take(*later)
    assert value(found) == flag("off")


def test_a_key_document_that_the_root_did_not_sign_changes_nothing():
    found = held()
    assert not found.take_root("2", GOOD[2])
    assert not found.take_root("1", root_document())
    assert (found.trust, found.refused) == (TRUST, {Reason.BAD_DOCUMENT: 1})


def test_a_snapshot_gives_back_what_was_held_under_the_newest_key_document():
    found = held(GOOD, stamped(None, 2, key="web/gone"))
    found.take_root("2", root_document(2, SECOND))
    found.take(*stamped(flag("off"), 1, key="web/late", root_version=2, by=SECOND))
    again = held()
    assert again.restore(found.snapshot(1234)) == 1234
    # The first decision key is no longer in the document: what it stood for in the file counts no more than on the topic.
    assert set(again.kept) == {"web/late"}
    assert again.trust == found.trust


def test_a_snapshot_is_believed_no_more_than_the_topic():
    honest = held(GOOD)
    forged = honest.snapshot(0).replace(b'"defaultVariant": "on"', b'"defaultVariant": "of"')
    again = held()
    again.restore(forged)
    assert again.kept == {}
    assert again.refused == {Reason.BAD_SIGNATURE: 1}


@pytest.mark.parametrize("data", [b"", b"\xc1", b"{}", b"\x83"])
def test_a_torn_snapshot_is_none(data):
    with pytest.raises(Malformed):
        held().restore(data)


def test_a_snapshot_does_not_take_the_topic_back():
    old, new = held(stamped(flag("on"), 1)).snapshot(0), held(stamped(flag("off"), 2))
    new.restore(old)
    assert value(new) == flag("off")
