"""Whatever a service says of itself, its telemetry goes on: what leaves decodes, and so does what is said after it.

A gauge from numpy, 10**30 or half a character in a slice's name (one client can send that) ended the sender's task without word:
no row left any more, and a healthy release was rolled back for its silence (C6). A ratio of nanoseconds, a Decimal or a float
counted lost whole seconds to the dead letters.
"""

import logging
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.sdk import Identity, Publisher, Recorder, Refused
from tidegate.sdk import slices as noted_slices
from tidegate.wire.telemetry import COUNT_MAX, FIELDS_MAX, SLICES_MAX, Telemetry, decode, encode_json, encode_msgpack

IDENTITY = Identity(service="shop", node="n1", version="v1", boot="b1")
MOST = COUNT_MAX - 1


class Route(str, Enum):  # noqa: UP042 - as services have it
    CART = "route=/cart"


class Hostile:
    """Raises at whatever is asked of it."""

    def _raise(self, *_: object) -> Any:
        raise KeyError("hostile")

    __float__ = __index__ = __bool__ = __hash__ = __eq__ = __str__ = __repr__ = __len__ = __iter__ = _raise


def breaking() -> Iterator[str]:
    yield "route=/cart"
    raise OSError("gone")


characters = st.characters(exclude_categories=())
"""Lone surrogates too, which is not what hypothesis has in mind unless it is told."""
texts = st.text(characters, max_size=40) | st.builds(lambda one: one * 257, characters)
names = (
    st.sampled_from(["queue", "route=/cart", "\ud800", "", Route.CART, np.str_("zone")])
    | texts
    | st.one_of(st.none(), st.integers(), st.binary(max_size=3), st.lists(st.integers(), max_size=2), st.builds(Hostile))
)
numpy_numbers = st.one_of(
    *(
        st.builds(kind, st.integers(0, 100))
        for kind in (np.int8, np.uint8, np.int64, np.uint64, np.float16, np.float32, np.float64, np.longdouble, np.array)
    ),
    st.builds(np.bool_, st.booleans()),
)
numbers = st.one_of(
    st.integers(),
    st.integers(0, 3).map(lambda power: 10 ** (30 * 10**power)),
    st.floats(),
    st.decimals(),
    st.fractions(),
    st.booleans(),
    st.complex_numbers(),
    texts,
    st.none(),
    numpy_numbers,
    st.builds(Hostile),
    st.just(np.array([1.0, 2.0])),
)
errors = st.booleans() | st.sampled_from([np.True_, None, "no", [], OSError(), np.array([1, 2])]) | st.builds(Hostile)
listed = st.lists(names, max_size=4) | st.sampled_from([None, 7, "route=/cart", {"a", "b"}]) | st.builds(breaking)
calls = st.one_of(
    st.tuples(st.just("record"), numbers, errors, listed),
    st.tuples(st.just("gauge"), names, numbers),
    st.tuples(st.just("count"), names, numbers),
    st.tuples(st.just("ratio"), names, numbers, numbers),
)


def say(recorder: Recorder, what: str, *said: Any) -> None:
    if what == "record":
        recorder.record(said[0], error=said[1], slices=said[2])
    else:
        getattr(recorder, what)(*said)


def through(row: Telemetry) -> Telemetry:
    """Return what readers see of a row, the same in both encodings."""
    seen = decode(encode_msgpack(row))
    other = decode(encode_json(row))
    assert (seen.gauges, seen.counters, seen.ratios, seen.requests) == (
        other.gauges,
        other.counters,
        other.ratios,
        other.requests,
    )
    return seen


@given(st.lists(calls, max_size=30))
def test_whatever_is_recorded_what_leaves_decodes_and_every_request_counts(said):
    recorder = Recorder(IDENTITY, 0)
    for call in said:
        say(recorder, *call)
    row = through(recorder.cut(1_000))
    assert row.requests == sum(call[0] == "record" for call in said)
    recorder.record(0.01)
    recorder.gauge("queue", 3)
    after = through(recorder.cut(2_000))
    assert (after.seq, after.requests, after.gauges) == (2, 1, {"queue": 3.0})


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (np.mean([1, 2]), 1.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7.0),
        (Decimal("2.5"), 2.5),
        (Fraction(1, 4), 0.25),
        (10**30, 1e30),
        (True, 1.0),
    ],
)
def test_a_gauge_is_a_number_of_whatever_library(value, seen):
    recorder = Recorder(IDENTITY, 0)
    recorder.gauge("queue", value)
    assert through(recorder.cut(1_000)).gauges == {"queue": seen}
    assert not recorder.refused


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 10**400, Decimal("NaN"), Decimal("1e101"), 1e101, "much", None, 1j]
)
def test_a_gauge_that_is_no_number_or_too_large_is_refused_and_counted(value):
    recorder = Recorder(IDENTITY, 0)
    recorder.gauge("queue", 1.0)
    recorder.gauge("queue", value)
    assert through(recorder.cut(1_000)).gauges == {"queue": 1.0}
    assert recorder.refused == {Refused.VALUE: 1}


@pytest.mark.parametrize("amount", [-1, 1.0, Decimal(1), "1", None, math.nan])
def test_a_count_is_a_whole_number_from_0(amount):
    recorder = Recorder(IDENTITY, 0)
    recorder.count("sold", np.uint8(2))
    recorder.count("sold", amount)
    recorder.ratio("cache", np.int64(1), np.int64(2))
    for part, whole in ((amount, 2), (1, amount), (3, 2)):
        recorder.ratio("cache", part, whole)
    row = through(recorder.cut(1_000))
    assert (row.counters, row.ratios) == ({"sold": 2}, {"cache": (1, 2)})
    assert recorder.refused == {Refused.VALUE: 4}


@given(st.lists(st.integers(0, 10**40), min_size=1, max_size=5))
def test_a_counter_stops_at_the_most_that_a_row_takes(amounts):
    recorder = Recorder(IDENTITY, 0)
    for amount in amounts:
        recorder.count("sold", amount)
    assert through(recorder.cut(1_000)).counters == {"sold": min(sum(amounts), MOST)}
    assert (Refused.CUT in recorder.refused) == (sum(amounts) > MOST)


@given(st.lists(st.tuples(st.integers(0, 10**40), st.integers(0, 10**40)).map(sorted), min_size=1, max_size=5))
def test_a_ratio_stays_what_it_is_however_large_its_parts_are(said):
    """Four times 1e9 ns pass what a row takes."""
    recorder = Recorder(IDENTITY, 0)
    for part, whole in said:
        recorder.ratio("busy", part, whole)
    part, whole = through(recorder.cut(1_000)).ratios["busy"]
    parts, wholes = sum(part for part, _ in said), sum(whole for _, whole in said)
    assert whole == min(wholes, MOST)
    assert not wholes or part / whole == pytest.approx(parts / wholes, abs=1 / MOST)
    assert (Refused.CUT in recorder.refused) == (wholes > MOST)


@pytest.mark.parametrize("name", ["\ud800", "route=/\udfff", "", "x" * 257, None, 7, b"route=/", ["route=/"]], ids=repr)
def test_a_name_that_cannot_travel_is_refused_alone(name):
    recorder = Recorder(IDENTITY, 0)
    recorder.record(0.01, slices=["route=/cart", name])
    for call in (recorder.gauge, recorder.count):
        call(name, 1)
    recorder.ratio(name, 1, 2)
    row = through(recorder.cut(1_000))
    assert (row.requests, [*row.slices], row.gauges, row.counters, row.ratios) == (1, ["route=/cart"], {}, {}, {})
    assert recorder.refused == {Refused.NAME: 4}


def test_a_name_of_another_class_of_text_is_its_text():
    recorder = Recorder(IDENTITY, 0)
    for name in (Route.CART, np.str_("route=/cart"), "route=/cart"):
        recorder.record(0.01, slices=[name])
        recorder.count(name)
    row = through(recorder.cut(1_000))
    assert (row.slices["route=/cart"].requests, row.counters) == (3, {"route=/cart": 3})


@pytest.mark.parametrize(
    ("slices", "counted", "refused"),
    [
        (["a", "a"], {"a"}, {}),
        ("route=/cart", {"route=/cart"}, {}),
        (breaking(), {"route=/cart"}, {Refused.VALUE: 1}),
        (None, set(), {Refused.VALUE: 1}),
        ((f"{number}" for number in range(10**9)), {f"{number}" for number in range(SLICES_MAX)}, {Refused.ROOM: 1}),
    ],
    ids=["twice", "a text", "breaks off", "none", "without end"],
)
def test_a_request_counts_once_for_each_slice_that_could_be_read(slices, counted, refused):
    recorder = Recorder(IDENTITY, 0)
    recorder.record(0.01, slices=slices)
    row = through(recorder.cut(1_000))
    assert {name: piece.requests for name, piece in row.slices.items()} == dict.fromkeys(counted, 1)
    assert (row.requests, recorder.refused) == (1, refused)


@pytest.mark.parametrize(("seconds", "error"), [(math.nan, False), ("slow", False), (0.01, np.array([1, 2])), (0.01, Hostile())])
def test_a_request_of_which_something_cannot_be_told_counts_and_is_no_success(seconds, error):
    recorder = Recorder(IDENTITY, 0)
    recorder.record(seconds, error=error)
    row = through(recorder.cut(1_000))
    assert (row.requests, row.errors) == (1, int(error is not False))
    assert recorder.refused == {Refused.VALUE: 1}


@pytest.mark.parametrize("slices", [None, "route=/cart", breaking()], ids=["none", "a text", "breaks off"])
def test_a_block_that_names_odd_slices_ends_as_it_would_without_telemetry(slices):
    publisher = Publisher("shop", node="n1")
    with publisher.request(slices):
        noted_slices.note("flag/web/dark=on")
    row = through(publisher._recorder.cut(2**41))
    assert row.requests == row.slices["flag/web/dark=on"].requests == 1
    assert {*row.slices} - {"flag/web/dark=on"} <= {"route=/cart"}


def test_each_kind_is_said_once_and_counted_each_time(caplog):
    recorder = Recorder(IDENTITY, 0)
    said: list[Callable[[], None]] = [
        lambda: recorder.gauge("queue", math.nan),
        lambda: recorder.count("\ud800"),
        lambda: recorder.count("sold", COUNT_MAX),
        lambda: recorder.gauge(Hostile(), 1.0),
    ]
    said += [lambda number=number: recorder.gauge(f"g{number}", 1.0) for number in range(FIELDS_MAX + 2)]
    with caplog.at_level(logging.WARNING, "tidegate.sdk"):
        for one in said * 2:
            one()
    assert recorder.refused == {Refused.VALUE: 2, Refused.NAME: 4, Refused.CUT: 2, Refused.ROOM: 4}
    assert len(caplog.messages) == len(recorder.refused)
    assert r"'\ud800'" in caplog.text


def test_a_log_handler_may_count_the_lines_of_its_log():
    """It is called in the middle of a call."""
    recorder = Recorder(IDENTITY, 0)

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            recorder.count(f"log.{record.levelname}")

    log, handler = logging.getLogger("tidegate.sdk"), Counting()
    log.addHandler(handler)
    try:
        recorder.gauge("queue", math.nan)
    finally:
        log.removeHandler(handler)
    assert recorder.cut(1_000).counters == {"log.WARNING": 1}


@pytest.mark.parametrize(
    "odd",
    [
        {"service": "my shop"},
        {"node": ""},
        {"version": "1.2+5"},
        {"version": 2},
        {"boot": "\ud800"},
        {"boot": "b" * 129},
        {"zone": "\ud800"},
        {"cohort": "x" * 257},
        {"labels": {"rack": "\ud800"}},
        {"labels": {f"l{number}": "" for number in range(FIELDS_MAX + 1)}},
    ],
    ids=repr,
)
def test_who_cannot_be_named_on_the_wire_is_told_at_the_start_and_not_silent(odd):
    known = {"service": "shop", "node": "n1", "version": "v1", "boot": "b1"} | odd
    with pytest.raises(ValueError, match=r"letters|label"):
        Identity(**known)


@given(st.text(characters, max_size=300), st.text(characters, max_size=300))
def test_an_identity_is_refused_or_its_rows_decode(name, label):
    try:
        identity = Identity(service="shop", node="n1", version=name, boot=name, zone=label, labels={label: label})
    except ValueError:
        return
    assert through(Recorder(identity, 0).cut(1_000)).zone == label
