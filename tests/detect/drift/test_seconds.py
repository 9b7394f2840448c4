"""A pane as arrays: nobody is lost, slow requests are counted exactly, ages are only of whom they are known."""

import numpy as np
from msgspec.structs import replace
from tests.detect.drift.kit import ERRORS, FIRST_SLOW, SECONDS
from tests.detect.healthy import pane, row

from tidegate.detect.drift.metrics import COUNT
from tidegate.detect.drift.seconds import WARM, Kind, second_of
from tidegate.kpi.pane import Crowd, Table

EDGES = (40, 44, 48, 50, 56, 60)


def counts_at(**slots: int) -> np.ndarray:
    found = np.zeros(160, dtype=np.int64)
    for name, number in slots.items():
        found[int(name[1:])] = number
    return found


def crowd(names: tuple[str, ...], columns: int = 6) -> Crowd:
    number = len(names)
    return Crowd(
        frozenset(names),
        table=Table(
            names,
            np.full(number, 30),
            np.full(number, 3),
            np.arange(number * columns).reshape(number, columns),
            ("x",) * number,
        ),
    )


SEEN = pane(
    0,
    canary=[row("c1", requests=10, errors=2, counts=counts_at(s40=4, s41=3, s60=2, s61=1))],
    control=[row("k1", requests=20), row("k0", telemetry=False)],
    rest=[row("r9", requests=5, errors=1, counts=counts_at(s159=5))],
)


def with_crowd(columns: int = 6):
    rest = replace(SEEN.cohorts["rest"], crowd=crowd(("r1", "r2"), columns))
    return replace(SEEN, cohorts={**SEEN.cohorts, "rest": rest})


def test_canaries_come_first_then_controls_then_everybody_else_and_who_is_silent_does_not_come():
    found = second_of(with_crowd(), EDGES, {})
    assert found.nodes == ("c1", "k1", "r9", "r1", "r2")
    assert found.kinds.tolist() == [Kind.CANARY, Kind.CONTROL, Kind.REST, Kind.REST, Kind.REST]
    assert found.strata == ("", "", "", "x", "x")
    assert found.end_ms == SEEN.end_ms


def test_slow_requests_are_those_in_buckets_above_an_edge():
    found = second_of(SEEN, EDGES, {})
    assert found.events[0].tolist() == [2, 1, 6, 3, 3, 3, 3, 1]
    assert found.events[2, FIRST_SLOW:].tolist() == [5] * 6
    assert second_of(with_crowd(), EDGES, {}).events[4, FIRST_SLOW:].tolist() == [6, 7, 8, 9, 10, 11]


def test_a_second_with_any_error_counts_once():
    assert second_of(SEEN, EDGES, {}).events[:, [ERRORS, SECONDS]].tolist() == [[2, 1], [0, 0], [1, 1]]


def test_where_slow_requests_cannot_be_counted_no_request_counts_for_them():
    for seen, edges in ((SEEN, ()), (with_crowd(0), EDGES)):
        found = second_of(seen, edges, {})
        assert (found.requests[:, :FIRST_SLOW] > 0).all()
        blind = found.requests[:, FIRST_SLOW:].sum(axis=1) == 0
        assert blind.tolist() == [True] * 3 if not edges else [False, False, False, True, True]


def test_ages_are_those_of_compared_nodes_and_nobody_elses():
    found = second_of(SEEN, EDGES, {"c1": 3.0, "r9": 4.0})
    assert found.age_s.tolist() == [3.0, WARM, WARM]


def test_a_pane_without_cohorts_is_a_second_without_nodes():
    found = second_of(replace(SEEN, cohorts={}), EDGES, {})
    assert found.nodes == ()
    assert found.requests.shape == found.events.shape == (0, COUNT)
