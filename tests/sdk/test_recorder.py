import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.kpi.buckets import slot_of
from tidegate.sdk import Identity, Recorder
from tidegate.wire.telemetry import FIELDS_MAX, HISTOGRAM_OFFSET, SLICES_MAX, check, decode, encode_json, encode_msgpack

IDENTITY = Identity(service="shop", node="n1", version="v1", boot="b1", zone="a")


def recorder() -> Recorder:
    return Recorder(IDENTITY, started_ms=1_000)


def test_a_second_without_requests_is_still_a_row_so_that_silence_can_be_told_from_idleness():
    row = recorder().cut(2_000)
    assert (row.seq, row.start_ms, row.length_ms, row.requests, row.latency) == (1, 1_000, 1_000, 0, None)


@given(st.lists(st.tuples(st.floats(0, 2_000), st.booleans()), max_size=200))
def test_every_request_is_in_exactly_one_bucket_and_counted_once(requests):
    made = recorder()
    for seconds, error in requests:
        made.record(seconds, error=error, slices=["route=/buy"])
    row = made.cut(2_000)
    check(row)
    assert row.requests == len(requests)
    assert row.errors == sum(error for _, error in requests)
    if requests:
        counts = row.latency.values()
        first = row.latency.offset - HISTOGRAM_OFFSET
        assert sum(counts) == len(requests)
        for slot in {slot_of(seconds) if seconds > 0 else 0 for seconds, _ in requests}:
            assert counts[slot - first] > 0
        assert row.slices["route=/buy"].requests == len(requests)


def test_cutting_begins_anew_and_numbers_rows_without_a_gap():
    made = recorder()
    made.record(0.01)
    first, second = made.cut(2_000), made.cut(3_000, dropped=4)
    assert (first.seq, first.requests, second.seq, second.requests, second.start_ms) == (1, 1, 2, 0, 2_000)
    assert second.dropped == 4


@pytest.mark.parametrize(
    ("started_ms", "now_ms", "window"),
    [
        (1_000, 2_000, (1_000, 1_000)),
        (100_000, 700_000, (640_000, 60_000)),
        (100_000, 90_000, (89_999, 1)),
        (100_000, 100_000, (99_999, 1)),
    ],
    ids=["a second", "nobody cut for long", "the clock was set back", "at once"],
)
def test_a_row_ends_when_it_is_cut(started_ms, now_ms, window):
    """One that ended minutes ago would be late, and its clock taken for wrong (A4)."""
    row = Recorder(IDENTITY, started_ms).cut(now_ms)
    assert (row.start_ms, row.length_ms) == window


def test_both_encodings_carry_the_same_row():
    made = recorder()
    made.record(0.02, slices=["flag/web/dark=on"])
    made.gauge("queue", 3.5)
    made.count("sold", 2)
    made.ratio("cache", 1, 2)
    row = made.cut(2_000)
    assert decode(encode_json(row)).slices == row.slices
    assert decode(encode_msgpack(row)).gauges == row.gauges == {"queue": 3.5}
    assert decode(encode_msgpack(row)).latency.values() == row.latency.values()


def test_what_does_not_fit_is_counted_and_never_raised():
    made = recorder()
    for number in range(FIELDS_MAX + 5):
        made.gauge(f"g{number}", 1.0)
    for number in range(SLICES_MAX + 3):
        made.record(0.01, slices=[f"route=/{number}"])
    made.gauge("bad", float("nan"))
    made.count("x" * 300)
    row = made.cut(2_000)
    check(row)
    assert (len(row.gauges), len(row.slices), sum(made.refused.values())) == (FIELDS_MAX, SLICES_MAX, 5 + 3 + 1 + 1)


def test_threads_lose_no_request():
    made = recorder()

    def work() -> None:
        for _ in range(5_000):
            made.record(0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made.cut(2_000).requests == 20_000


def test_a_service_without_a_name_is_told_how_to_say_it():
    with pytest.raises(ValueError, match="TIDEGATE_SERVICE"):
        Identity.of({})
