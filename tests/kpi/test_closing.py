import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kpi.rows import T0, histogram, record, row

from tidegate.kpi.closing import close
from tidegate.kpi.columns import read
from tidegate.kpi.membership import Members, members_of
from tidegate.kpi.panes import Part
from tidegate.kpi.rows import gather
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.telemetry import ServiceState, Source

MEMBERS = members_of(
    Context(
        subject="svc/shop",
        service="shop",
        epoch=1,
        generation=1,
        rest_version="v1",
        cohorts=(
            CohortMembers(name="canary", version="v2", nodes=("n0",)),
            CohortMembers(name="control", version="v1", nodes=("n1", "n2")),
        ),
    )
)


def pane(rows, members=MEMBERS, recent=(), batch=100):
    parts = []
    for at in range(0, len(rows), batch):
        columns = read(record(rows[at : at + batch]))
        parts.append(Part(columns, np.arange(len(columns))))
    (closed,) = close(T0, gather(parts), {"shop": members}, {"shop": recent})
    return closed


def agent(node, version="v1", **fields):
    return row(node, boot="agent", version=version, source=Source.AGENT, **fields)


def test_members_stand_one_by_one_and_the_rest_is_one_sum():
    closed = pane(
        [
            row("n0", version="v2", requests=3, errors=1, latency=histogram(0.1, 0.2, 0.4)),
            row("n1", requests=5),
            row("n3", requests=7, latency=histogram(*[0.01] * 7)),
            row("n4", requests=9, gauges={"queue": 4.0}),
        ],
        recent=("n0", "n1", "n3", "n4", "n5"),
    )
    canary, control, rest = (closed.cohorts[name] for name in ("canary", "control", "rest"))
    assert (canary.expected, control.expected, rest.expected) == (("n0",), ("n1", "n2"), ("n3", "n4", "n5"))
    node = canary.nodes["n0"]
    assert (node.version, node.requests, node.errors, node.counts.sum(), node.telemetry, node.agent) == (
        "v2",
        3,
        1,
        3,
        True,
        False,
    )
    assert (control.nodes["n1"].requests, "n2" in control.nodes) == (5, False)
    assert rest.nodes == {}
    assert rest.reported == {"n3", "n4"}
    assert (rest.sums.requests, sum(rest.sums.counts), rest.sums.gauges) == (16, 7, {"queue": (4.0, 1)})


def test_only_telemetry_of_the_right_version_counts_but_the_agent_is_always_heard():
    closed = pane(
        [
            row("n0", version="v1", requests=9),
            agent("n0", "v1", state=ServiceState.DRAINING, changed_ms=5),
            row("n3", version="v9"),
        ]
    )
    node = closed.cohorts["canary"].nodes["n0"]
    assert (node.telemetry, node.requests, node.agent, node.version, node.state) == (False, 0, True, "v1", ServiceState.DRAINING)
    assert closed.transition_rows == 2
    assert closed.cohorts["rest"].reported == frozenset()


def test_a_node_of_the_rest_of_which_only_the_agent_speaks_is_still_known():
    rest = pane([row("n3"), agent("n3", state=ServiceState.READY), agent("n4", state=ServiceState.STOPPED)]).cohorts["rest"]
    assert [*rest.nodes] == ["n4"]
    assert (rest.nodes["n4"].state, rest.reported) == (ServiceState.STOPPED, {"n3"})


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_rows_of_an_agent_the_one_of_the_latest_change_counts(order):
    rows = [agent("n0", "v1", seq=2, changed_ms=5, exits=1), agent("n0", "v2", seq=1, changed_ms=9)][::order]
    node = pane(rows).cohorts["canary"].nodes["n0"]
    assert (node.version, node.changed_ms, node.exits) == ("v2", 9, 0)


@pytest.mark.parametrize(
    ("sources", "counts"),
    [
        ((Source.SDK, Source.OTLP, Source.SCRAPE), Source.SDK),
        ((Source.SCRAPE, Source.OTLP), Source.OTLP),
        ((Source.SCRAPE,), Source.SCRAPE),
    ],
)
@pytest.mark.parametrize(("node", "cohort"), [("n1", "control"), ("n9", "rest")])
def test_one_source_of_a_node_counts_the_first_in_order(sources, counts, node, cohort):
    rows = [row(node, boot=source, source=source, requests=10 + number) for number, source in enumerate(sources)]
    assert pane(rows).cohorts[cohort].sums.requests == 10 + sources.index(counts)


@given(st.permutations(range(24)), st.integers(1, 24), st.lists(st.floats(-1e90, 1e90), min_size=24, max_size=24))
def test_neither_order_nor_batches_change_a_single_bit(order, batch, gauges):
    rows = [
        row(
            f"n{number % 6}",
            boot=f"b{number}",
            version="v2" if number % 6 == 0 else "v1",
            requests=number,
            gauges={"g": gauges[number]},
        )
        for number in range(24)
    ]
    straight, shuffled = pane(rows), pane([rows[at] for at in order], batch=batch)
    for name, cohort in straight.cohorts.items():
        assert shuffled.cohorts[name].sums == cohort.sums
        assert shuffled.cohorts[name].reported == cohort.reported
        assert [(node.gauges, node.requests) for node in shuffled.cohorts[name].nodes.values()] == [
            (node.gauges, node.requests) for node in cohort.nodes.values()
        ]


def test_without_a_rollout_all_are_rest_whatever_they_run_and_its_version_is_that_of_most():
    rest = pane([row("n1"), row("n2", version="v2"), row("n3", version="v2")], Members()).cohorts["rest"]
    assert (rest.reported, rest.version, rest.crowd.version) == ({"n1", "n2", "n3"}, "", "v2")


def test_a_second_without_rows_closes_too():
    closed = pane([], recent=("n7",))
    assert closed.cohorts["rest"].expected == ("n7",)
    assert closed.cohorts["control"].expected == ("n1", "n2")
    assert all(cohort.sums.requests == 0 for cohort in closed.cohorts.values())
