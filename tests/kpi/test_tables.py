from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.kpi.rows import T0, fleet_rows, histogram, record, row

from tidegate.kpi.closing import close
from tidegate.kpi.columns import read
from tidegate.kpi.membership import Members, members_of
from tidegate.kpi.panes import Part
from tidegate.kpi.rows import gather
from tidegate.kpi.strata import stratum_of
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.telemetry import HISTOGRAM_OFFSET, Source

CONTEXT = Context(
    subject="svc/shop",
    service="shop",
    epoch=1,
    generation=1,
    rest_version="v1",
    cohorts=(CohortMembers(name="canary", version="v2", nodes=("n0",)),),
)
MEMBERS = {"shop": members_of(CONTEXT)}
SLOTS = st.lists(st.integers(0, 159), max_size=6, unique=True).map(lambda slots: tuple(sorted(slots)))


def panes(rows, edges, members=MEMBERS, batch=100):
    parts = []
    for at in range(0, len(rows), batch):
        columns = read(record(rows[at : at + batch]))
        parts.append(Part(columns, np.arange(len(columns))))
    services = {one.service: () for one in rows} | {"shop": ()}
    return {pane.service: pane for pane in close(T0, gather(parts), members, services, edges)}


def table_of(rows, edges=(), **fields):
    return panes(rows, {"shop": edges}, **fields)["shop"].cohorts["rest"].crowd.table


def naive(rows, edges, service):
    """Return node: [requests, errors, slow..., stratum], slowly: row by row, with the rules of ``close`` written out."""
    mine = [one for one in rows if one.service == service and not (service == "shop" and one.node == "n0")]
    counts = [one for one in mine if one.source is not Source.AGENT and (service != "shop" or one.version == "v1")]
    order = [*Source]
    first = {node: min(order.index(one.source) for one in counts if one.node == node) for node in {one.node for one in counts}}
    found: dict[str, list] = {}
    for one in counts:
        if order.index(one.source) != first[one.node]:
            continue
        own = found.setdefault(one.node, [0, 0, *[0] * len(edges), ""])
        own[0] += one.requests
        own[1] += one.errors
        slots = Counter()
        for number, count in enumerate(one.latency.counts if one.latency is not None else ()):
            slots[one.latency.offset - HISTOGRAM_OFFSET + number] += count
        for column, edge in enumerate(edges):
            own[2 + column] += sum(count for slot, count in slots.items() if slot > edge)
        own[-1] = max(own[-1], stratum_of(one.zone, one.labels))
    unknown = {node for node, own in found.items() if not own[-1]}
    for one in mine:
        if one.source is Source.AGENT and one.node in unknown:
            found[one.node][-1] = max(found[one.node][-1], stratum_of(one.zone, one.labels))
    return found


@st.composite
def second(draw):
    """Rows of several services, sources and lives in one second."""
    rows = []
    for number in range(draw(st.integers(0, 25))):
        slots = draw(st.lists(st.floats(0.0005, 2000), max_size=5))
        source = draw(st.sampled_from([Source.SDK, Source.SDK, Source.OTLP, Source.AGENT]))
        counted = source is not Source.AGENT
        rows.append(
            row(
                f"n{draw(st.integers(0, 5))}",
                boot=f"b{number}",
                service=draw(st.sampled_from(["shop", "shop", "cart", "mail"])),
                version=draw(st.sampled_from(["v1", "v1", "v2"])),
                source=source,
                requests=len(slots) if counted else 0,
                errors=draw(st.integers(0, len(slots))) if counted else 0,
                latency=histogram(*slots) if slots and counted else None,
                zone=draw(st.sampled_from(["", "a", "b"])),
                labels=draw(st.sampled_from([{}, {"hardware": "big"}])),
            )
        )
    return rows


@given(second(), SLOTS, SLOTS, st.integers(1, 25))
def test_a_table_is_what_counting_row_by_row_gives(rows, shop, cart, batch):
    edges = {"shop": shop, "cart": cart, "never": (1,)}
    closed = panes(rows, edges, batch=batch)
    for service, pane in closed.items():
        crowd = pane.cohorts["rest"].crowd
        expected = naive(rows, edges[service], service) if service in edges else {}
        if not expected:
            assert crowd.table is None
            continue
        table = crowd.table
        assert table.nodes == tuple(sorted(expected))
        assert crowd.nodes == set(expected)
        assert table.slow.shape == (len(expected), len(edges[service]))
        lines = zip(table.requests.tolist(), table.errors.tolist(), table.slow.tolist(), table.strata, strict=True)
        for node, (requests, errors, slow, stratum) in zip(table.nodes, lines, strict=True):
            assert [requests, errors, *slow, stratum] == expected[node]


@given(fleet_rows(), SLOTS)
def test_a_table_adds_up_to_its_crowd(rows, edges):
    rows = [one for one in rows if one.start_ms == T0]
    table = table_of(rows, edges)
    sums = panes(rows, {})["shop"].cohorts["rest"].crowd.sums
    if table is None:
        assert sums.requests == 0
        return
    assert (table.requests.sum(), table.errors.sum()) == (sums.requests, sums.errors)
    assert [*table.slow.sum(axis=0)] == [sum(sums.counts[edge + 1 :]) for edge in edges]


@given(st.permutations(range(12)), st.integers(1, 12))
def test_neither_order_nor_batches_change_a_table(order, batch):
    rows = [
        row(f"n{at % 4}", boot=f"b{at}", requests=at + 1, latency=histogram(*[0.01 * (at + 1)] * (at + 1)), zone="ab"[at % 2])
        for at in range(12)
    ]
    straight, shuffled = table_of(rows, (40,)), table_of([rows[at] for at in order], (40,), batch=batch)
    for name in ("nodes", "requests", "errors", "slow", "strata"):
        assert np.array_equal(getattr(straight, name), getattr(shuffled, name))


def test_a_slot_that_ends_at_the_edge_is_not_above_it():
    slow = table_of([row("n1", requests=3, latency=histogram(1.0, 1.01, 1.2))], (78, 79, 80, 159)).slow
    assert slow.tolist() == [[3, 2, 1, 0]]


def test_who_asks_for_no_edges_still_gets_requests_and_errors():
    table = table_of([row("n1", requests=5, errors=2)])
    assert (table.requests.tolist(), table.errors.tolist(), table.slow.shape) == ([5], [2], (1, 0))


def test_the_agent_says_where_a_node_is_whose_telemetry_does_not():
    rows = [
        row("n1", requests=1),
        row("n1", boot="agent", source=Source.AGENT, zone="a", labels={"host.type": "big"}),
        row("n2", requests=1, zone="b"),
        row("n2", boot="agent", source=Source.AGENT, zone="z"),
        row("n3", requests=1),
    ]
    assert table_of(rows).strata == ("a/big", "b", "")
    canary = panes([row("n0", version="v2", requests=1), row("n0", boot="agent", source=Source.AGENT, zone="a")], {})
    assert canary["shop"].cohorts["canary"].nodes["n0"].zone == "a"


def test_members_of_compared_cohorts_and_other_versions_are_not_in_the_table():
    rows = [row("n0", version="v2", requests=1), row("n1", requests=1), row("n2", version="v9", requests=1)]
    assert table_of(rows).nodes == ("n1",)
    assert table_of(rows, members={"shop": Members()}).nodes == ("n0", "n1", "n2")


def test_without_anyone_there_is_no_table():
    assert table_of([], (3,)) is None
    assert table_of([row("n0", version="v2", requests=1)], (3,)) is None
