"""Slices of one second as panes of flags: who is on which side, whatever the order of rows, and what is passed over."""

import random

import numpy as np
import pytest
from tests.kpi.rows import histogram, record, row

from tidegate.kpi.columns import read
from tidegate.kpi.flags import CANARY, CONTROL, SERVERS_MAX, Flag, Variant, as_control, flags_of, pane_of, sliced
from tidegate.kpi.panes import Part
from tidegate.kpi.rows import gather
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.telemetry import Histogram, Slice, Source

DARK = "flag/web/dark"
BOTH = CANARY | CONTROL
CONTEXT = Context(
    subject=DARK,
    service="shop",
    epoch=1,
    generation=1,
    placement="p1",
    cohorts=(
        CohortMembers(name="canary", version="new", variants=("a", "b")),
        CohortMembers(name="control", version="safe", variants=("off",)),
        CohortMembers(name="rest", version="", variants=("c",)),
    ),
)
(FLAG,) = flags_of([CONTEXT])


def served(**counts):
    return {f"{DARK}={name}": Slice(*one, histogram(*[0.01] * one[0])) for name, one in counts.items()}


def paned(rows, before=None, flag=FLAG):
    columns = read(record(rows))
    told, refusals = sliced(gather([Part(columns, np.arange(len(rows)))] if rows else []), {"shop": [flag]})
    return pane_of(flag, "shop", 0, told["shop", DARK], before or {}), refusals


def test_a_context_names_the_variants_of_both_sides_and_of_no_other():
    assert FLAG.variants == {
        f"{DARK}=a": Variant("a", "canary", "a"),
        f"{DARK}=b": Variant("b", "canary", "b"),
        f"{DARK}=off": Variant("off", "control", "off"),
    }
    assert flags_of([Context(subject=DARK, service="shop", epoch=1, generation=1)]) == (), "nothing is being judged"
    assert flags_of([Context(subject="svc/shop", service="shop", epoch=1, generation=1, placement="p")]) == ()


def test_variants_of_a_side_are_summed_and_sides_are_server_by_server():
    pane, _ = paned([row("n1", slices=served(a=(3, 1), b=(4, 2), off=(9, 0))), row("n2", slices=served(a=(1, 0), off=(2, 1)))])
    canary, control = (pane.sides.cohorts[side] for side in ("canary", "control"))
    assert {name: (one.requests, one.errors) for name, one in canary.nodes.items()} == {"n1": (7, 3), "n2": (1, 0)}
    assert {name: (one.requests, one.errors) for name, one in control.nodes.items()} == {
        as_control("n1"): (9, 0),
        as_control("n2"): (2, 1),
    }
    assert int(canary.nodes["n1"].counts.sum()) == 7
    assert {name: cohort.sums.requests for name, cohort in pane.variants.cohorts.items()} == {"a": 4, "b": 4, "off": 11}


@pytest.mark.parametrize(
    ("before", "now", "canary", "control"),
    [
        ({}, {"a": (1, 0), "off": (1, 0)}, {"n1"}, {"n1"}),
        ({}, {"a": (1, 0)}, {"n1"}, None),
        ({}, {"off": (1, 0)}, set(), set()),
        ({"n1": CONTROL}, {"a": (1, 0)}, {"n1"}, {"n1"}),
        ({"n1": BOTH}, {"a": (1, 0)}, {"n1"}, {"n1"}),
        ({"n2": CONTROL}, {"a": (1, 0)}, set(), set()),
        ({"n2": CANARY}, {"a": (1, 0)}, {"n1", "n2"}, None),
        ({"n2": BOTH}, {}, {"n2"}, {"n2"}),
    ],
)
def test_who_is_compared_has_served_both_sides_unless_nobody_serves_the_control(before, now, canary, control):
    pane, _ = paned([row("n1", slices=served(**now))], before)
    sides = {name: set(cohort.expected) for name, cohort in pane.sides.cohorts.items()}
    assert sides["canary"] == canary
    assert sides.get("control") == (None if control is None else {as_control(name) for name in control})


def test_the_order_of_rows_does_not_matter():
    rows = [row(f"n{at % 5}", seq=at + 1, boot=f"b{at}", slices=served(a=(at, at // 2), off=(3, 1))) for at in range(1, 20)]
    straight, _ = paned(rows)
    random.Random(3).shuffle(rows)
    shuffled, _ = paned(rows)
    for name, cohort in straight.variants.cohorts.items():
        assert cohort == shuffled.variants.cohorts[name]
    for side, cohort in straight.sides.cohorts.items():
        assert [(one.node, one.requests, one.errors) for one in cohort.reporting()] == [
            (one.node, one.requests, one.errors) for one in shuffled.sides.cohorts[side].reporting()
        ]


@pytest.mark.parametrize(
    ("why", "fields"),
    [
        ("more errors than requests", {"slices": {f"{DARK}=a": Slice(1, 2)}}),
        ("counts beyond the last slot", {"slices": {f"{DARK}=a": Slice(1, 0, Histogram(79, [1, 1]))}}),
        ("torn counts", {"slices": {f"{DARK}=a": Slice(1, 0, Histogram(0, b"\x02\x01"))}}),
        ("another service", {"service": "cart", "slices": served(a=(1, 0))}),
        ("a probe", {"source": Source.PROBE, "slices": served(a=(1, 0))}),
        ("a variant that no context names", {"slices": served(c=(1, 0), other=(1, 0))}),
    ],
)
def test_what_is_passed_over(why, fields):
    pane, _ = paned([row("n1", **fields)])
    assert (pane.variants.cohorts, pane.served) == ({}, {}), why


def test_of_several_sources_the_first_counts():
    """A5."""
    told = [row("n1", boot=one, source=one, slices=served(a=(5, 0))) for one in (Source.OTLP, Source.SDK)]
    pane, _ = paned(told)
    assert pane.variants.cohorts["a"].sums.requests == 5


def test_servers_keep_their_names_and_lots_their_bounds():
    """Whoever was there first is looked at alone from then on, whoever else comes."""
    early = {f"n{at:03}": BOTH for at in range(SERVERS_MAX)}
    pane, _ = paned([row("a-new-one", slices=served(a=(2, 1), off=(2, 0))), row("n000", slices=served(a=(1, 0)))], early)
    assert pane.served.keys() - early.keys() == {"lot 0"}
    nodes = pane.sides.cohorts["canary"].nodes
    assert (nodes["n000"].requests, nodes["lot 0"].requests) == (1, 2)


def test_a_flag_without_variants_has_nobody():
    pane, _ = paned([row("n1", slices=served(a=(1, 0)))], flag=Flag(DARK, "p1", {}, {}))
    assert pane.sides.cohorts["canary"].expected == ()
