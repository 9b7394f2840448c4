"""What the judge reads may come from a hostile writer: it is folded or Malformed, and what is Malformed leaves no trace."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.judge.test_fold import CANARY
from tests.kpi.rows import T0, histogram, idle, record, row

from tidegate.judge import JudgeState, Outcome, snapshot, step
from tidegate.kpi.columns import WIDTHS
from tidegate.wire import nodeseconds
from tidegate.wire.codec import Malformed, encode

Document = dict[str, Any]

NUMBERS = [0.0, -0.0, 1.5, 5e-324, 1e100, 1e308, -1e308, math.inf, -math.inf, math.nan]
INTEGERS = [0, 1, -1, 7, 255, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, -(2**63), 2**64 - 1]
SCALARS = (
    st.none() | st.booleans() | st.sampled_from(INTEGERS) | st.sampled_from(NUMBERS) | st.binary(max_size=9) | st.text(max_size=5)
)
KEYS = st.sampled_from(INTEGERS) | st.text(max_size=5) | st.sampled_from(["load", "hit", "x" * 256])
ANYTHING = st.recursive(SCALARS, lambda part: st.lists(part, max_size=4) | st.dictionaries(KEYS, part, max_size=3), max_leaves=8)
DICTIONARIES = ("services", "nodes", "boots", "versions")
EXTRAS = (
    "zone",
    "labels",
    "cohort",
    "uptime_s",
    "gauges",
    "counters",
    "ratios",
    "slices",
    "dropped",
    "state",
    "exits",
    "changed_ms",
)


@st.composite
def documents(draw) -> Document:
    """A record of a few sound rows, of which parts were exchanged."""
    rows = [
        row(
            draw(st.sampled_from(["n0", "n1", "n2"])),
            seq=draw(st.integers(1, 5)),
            second=draw(st.integers(0, 8)),
            version=draw(st.sampled_from(["v1", "v2"])),
            requests=30,
            errors=draw(st.integers(0, 30)),
            latency=histogram(0.01, 0.02),
            gauges={"load": 1.0},
            counters={"c": 1},
            ratios={"hit": (1, 2)},
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    document: Document = msgspec.msgpack.decode(
        nodeseconds.encode(record(rows, draw(st.none() | st.integers(0, 12)))), strict=False
    )
    for _ in range(draw(st.integers(0, 3))):
        draw(st.sampled_from([_column, _element, _size, _dictionary, _extra, _mark, _field]))(draw, document)
    return document


def _column(draw, document: Document) -> None:
    name = draw(st.sampled_from([*WIDTHS, "counts"]))
    document[name] = draw(st.binary(max_size=40))


def _element(draw, document: Document) -> None:
    """One number of a column becomes one of the largest, the smallest or any."""
    name, kind = draw(st.sampled_from(sorted(WIDTHS.items())))
    column = document[name]
    if not isinstance(column, bytes) or not column or len(column) % np.dtype(kind).itemsize:
        return
    values = np.frombuffer(column, dtype=kind).copy()
    limits = np.iinfo(kind)
    values[draw(st.integers(0, len(values) - 1))] = draw(st.sampled_from([limits.min, limits.max, limits.max // 2, 1]))
    document[name] = values.tobytes()


def _size(draw, document: Document) -> None:
    """Whole rows are cut off or added, or bytes: torn."""
    name = draw(st.sampled_from([*WIDTHS, "counts"]))
    if isinstance(document[name], bytes):
        at = draw(st.integers(0, len(document[name])))
        document[name] = draw(st.sampled_from([document[name][:at], document[name] + document[name][:at]]))


def _dictionary(draw, document: Document) -> None:
    document[draw(st.sampled_from(DICTIONARIES))] = draw(
        st.lists(st.sampled_from(["n0", "n1", "shop", "other", "", "a b"]), max_size=3)
    )


def _extra(draw, document: Document) -> None:
    """One thing of what only some rows carry is exchanged, or stands beside a row that is none."""
    if isinstance(document["extras"], dict) and document["extras"]:
        extra = next(iter(document["extras"].values()))
        if isinstance(extra, list) and len(extra) == len(EXTRAS):
            name = draw(st.sampled_from(EXTRAS))
            said = draw(st.sampled_from(REFUSED.get(name, [None])) | ANYTHING)
            at = draw(st.sampled_from([0, 1, 3, -1, 10**9, 2**64 - 1]))
            document["extras"][at] = [said if one == name else extra[number] for number, one in enumerate(EXTRAS)]


def _mark(draw, document: Document) -> None:
    if isinstance(document["marks"], dict):
        document["marks"][draw(st.sampled_from([0, 3, 11, 12, -1, 2**63]))] = draw(st.sampled_from([*INTEGERS, T0, T0 + 5_000]))


def _field(draw, document: Document) -> None:
    document[draw(st.sampled_from(sorted(document)))] = draw(ANYTHING)


REFUSED = {
    "gauges": [{"load": math.nan}, {"load": math.inf}, {"load": 1e308}, {1: 1.0}, {f"g{at}": 1.0 for at in range(65)}],
    "counters": [{"c": -1}, {"c": 2**31}, {"c": 0.5}],
    "ratios": [{"hit": [0, 2**64 - 1]}, {"hit": [1]}],
    "uptime_s": [math.nan, math.inf, -1.0],
    "dropped": [-1],
    "exits": [-1, 2**63],
    "changed_ms": [-1, 2**43],
    "slices": [{"route=/": {"requests": -1}}],
}


def fold(state: JudgeState, data: bytes, append_ms: int) -> Outcome | None:
    """Return the outcome, or None where the record is Malformed and the state is what it was."""
    before = snapshot(state)
    try:
        return step(state, nodeseconds.decode(data), append_ms)
    except Malformed:
        assert snapshot(state) == before
        return None


def say(outcome: Outcome) -> None:
    """Write everything as the worker would: JSON knows no number that is none."""
    for kpi in outcome.kpis:
        assert b"null" not in kpi.flat(), kpi
    for one in (*outcome.scores, *outcome.verdicts, *outcome.alarms):
        encode(one)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_what_no_producer_may_say_is_refused_from_another_writer_too(name, value):
    """Two gauges of 1e308 had no sum: the judge ended, and its successor, and the next."""
    document = msgspec.msgpack.decode(nodeseconds.encode(record([row("n0", gauges={"load": 1.0})], 20)))
    extra = document["extras"][0]
    document["extras"][0] = [value if one == name else extra[at] for at, one in enumerate(EXTRAS)]
    assert fold(JudgeState(), msgspec.msgpack.encode(document), T0 + 100_000) is None


def test_text_that_is_none_is_refused_wherever_it_stands():
    """Also in the tag by which a row is told from a context: the judge ended there."""
    whole = nodeseconds.encode(record([row("n0")], 20))
    for text in (b"rows", b"shop", b"kind", b"v1"):
        assert fold(JudgeState(), whole.replace(text, b"\x80" + text[1:]), T0 + 100_000) is None


@settings(deadline=None, max_examples=100)
@given(st.lists(documents(), min_size=1, max_size=4))
def test_a_hostile_writer_is_folded_or_refused_and_the_seconds_after_it_close_as_ever(hostile):
    state = JudgeState()
    step(state, CANARY, T0)
    for at, document in enumerate(hostile):
        say(fold(state, msgspec.msgpack.encode(document), T0 + 2_000 * at) or Outcome())
    for sound in [record([row("n3", seq=1, second=9, requests=5)], 20), *idle(40, 21)]:
        say(step(state, sound, T0 + 100_000))
    assert state.closed_ms is not None
    snapshot(state)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_bytes_that_were_bent_are_folded_or_refused_and_the_seconds_after_them_close_as_ever(data):
    sound = record([row("n0", requests=3, gauges={"load": 1.0}), row("n1", seq=2, requests=3)], 3)
    whole = bytearray(nodeseconds.encode(data.draw(st.sampled_from([sound, CANARY]))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    state = JudgeState()
    outcome = fold(state, bytes(whole[: data.draw(st.integers(len(whole) - 3, len(whole)))]), T0 + 100_000)
    say(outcome or Outcome())
    for after in [sound, *idle(20, 4)]:
        say(step(state, after, T0 + 100_000))
