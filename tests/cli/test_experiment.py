"""``tidegate experiment`` against the real decision agent on a log in memory."""

import asyncio
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from tests.cli.kit import World
from tests.experiments.kit import BEGIN_MS, did, saw

from tidegate.experiments import ExperimentState, step, sums
from tidegate.wire.codec import encode
from tidegate.wire.experiments import Trial, trial_in
from tidegate.wire.exposures import EXPERIMENT

FAST = """
spec:
  definition:
    state: ENABLED
    variants: {"on": true, "off": false}
    defaultVariant: "off"
    targeting: {fractional: [["off", 50], ["on", 50]]}
  safeVariant: "off"
  immediate: true
  experiment:
    name: checkout
    control: "off"
    primary: {name: bought}
    secondary: [{name: paid, kind: mean}, {name: refunded, better: decrease}]
    minRunTime: 1h
    noDifference: 0.01
"""
HOUR_MS = 3_600_000


def set_(world: World, text: str = FAST):
    return world.type("flag", "set", "web/fast", "-f", world.plan(text, "fast.yaml"), "--reason", "is it faster?")


@pytest.fixture
def fast(world: World) -> World:
    """Flag web/fast declares experiment checkout."""
    done = set_(world)
    assert (done.code, done.err) == (0, "")
    return world


def published(world: World) -> dict[str, object]:
    """Metadata of the flag as services see them."""
    return json.loads(world.log.topic("flags")[-1].value).get("metadata", {})


def trial(world: World) -> Trial:
    found = trial_in(str(published(world)[EXPERIMENT]))
    assert found is not None
    return found


def happened(world: World, users: int, *, off: int = 10, on: int = 5, hours: float = 2.0, generation: int = 9) -> None:
    """Every ``off``-th user of off and every ``on``-th of on buys; what 12 partitions counted of it stands on the topic."""
    one, parts = trial(world), [ExperimentState(partition) for partition in range(12)]
    for at in range(users):
        state, variant, append_ms = parts[at % 12], ("off", "on")[at // 12 % 2], BEGIN_MS + int(at / users * hours * HOUR_MS)
        step(state, saw(at, variant, trial=one, generation=generation), append_ms)
        if at // 24 % {"off": off, "on": on}[variant] == 0:
            step(state, did(at, "bought"), append_ms)
            step(state, did(at, "paid", 3.0), append_ms)

    async def write() -> None:
        for state in parts:
            record = sums(state, "checkout", 1)
            await world.log.append("experiments", record.key, encode(record))

    asyncio.run(write())


def test_an_experiment_runs_when_everyone_has_the_definition_and_stops_with_a_kill(fast: World) -> None:
    before = trial(fast)
    assert (before.name, before.shares, before.metrics) == ("checkout", {"off": 50, "on": 50}, ("bought", "paid", "refunded"))
    assert fast.type("flag", "kill", "web/fast", "--reason", "it burns").code == 0
    assert published(fast) == {"killed": True}
    (row,) = fast.type("experiment", "list", "-o", "json").json
    assert (row["experiment"], row["state"], row["users"]) == ("checkout", "flag is killed", 0)
    assert fast.type("flag", "restore", "web/fast", "--reason", "it does not").code == 0
    assert trial(fast) == before


def test_the_declaration_in_the_documentation_is_sound(world: World) -> None:
    page = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    assert "expectedUsers" in text
    assert set_(world, text).code == 0
    assert trial(world).metrics == ("bought", "paid", "refunded")


def test_it_waits_for_the_ramp_of_its_flag(world: World) -> None:
    ramp = FAST.replace("immediate: true", "guard: [shop]") + "ramp: {stages: [{setWeight: 10, bake: 1h}, {setWeight: 100}]}\n"
    assert set_(world, ramp).code == 0
    assert EXPERIMENT not in published(world)
    (row,) = world.type("experiment", "list", "-o", "json").json
    assert row["state"] == "waits until everyone has the flag"


def test_its_numbers_and_what_follows_are_shown(fast: World) -> None:
    happened(fast, 12_000)
    shown = fast.type("experiment", "status", "checkout")
    assert (shown.code, shown.err) == (0, "")
    assert "checkout: ship on" in shown.out
    assert "on is better than off in bought; in no other metric is it surely worse." in shown.out
    one = fast.type("experiment", "status", "checkout", "-o", "json").json
    assert (one["users"], one["outcome"], one["reason"], one["proposed_variant"]) == (12_000, "ship", "better", "on")
    assert [(row["variant"], row["users"], row["declared"]) for row in one["variants"]] == [
        ("off", 6_000, 0.5),
        ("on", 6_000, 0.5),
    ]
    bought, paid, refunded = one["metrics"]
    assert (bought["control_mean"], bought["mean"], bought["standing"]) == (0.1, 0.2, "better")
    assert bought["low"] < 0.1 < bought["high"]
    assert (paid["mean"], paid["kind"]) == (pytest.approx(0.6), "mean")
    assert (refunded["low"], refunded["standing"]) == (None, "too_few")
    (row,) = fast.type("experiment", "list", "-o", "json").json
    assert row == one
    assert fast.type("experiment", "status", "-o", "yaml").out.startswith("- experiment: checkout")


def test_a_report_draws_how_the_estimate_came_about(fast: World) -> None:
    happened(fast, 12_000)
    plot = fast.folder / "checkout.svg"
    done = fast.type("experiment", "report", "checkout", "--plot", str(plot))
    assert (done.code, done.err) == (0, "")
    assert f"drawn: {plot}" in done.out
    drawn = ET.parse(plot).getroot()  # noqa: S314 - ours
    lines = [one for one in drawn.iter() if one.tag.endswith("polyline")]
    assert len(lines) == 1
    assert len(lines[0].attrib["points"].split()) > 20
    refused = fast.type("experiment", "report", "checkout", "--plot", str(fast.folder / "no" / "where.svg"))
    assert refused.code == 2


def test_with_too_few_users_the_picture_says_so(fast: World) -> None:
    happened(fast, 48)
    plot = fast.folder / "checkout.svg"
    assert fast.type("experiment", "report", "checkout", "--plot", str(plot)).code == 0
    assert "too few users yet" in plot.read_text()


def test_another_definition_begins_anew(fast: World) -> None:
    happened(fast, 1_200)
    assert set_(fast, FAST.replace("50", "40")).code == 0
    (row,) = fast.type("experiment", "list", "-o", "json").json
    assert (row["state"], row["users"]) == ("runs", 0)


def test_an_export_that_is_imported_again_changes_nothing(fast: World) -> None:
    before, path = trial(fast), fast.folder / "flags.json"
    assert fast.type("flag", "export", "--set", "web", "-o", str(path)).code == 0
    done = fast.type("flag", "import", str(path), "--set", "web", "--reason", "again", "--output", "json")
    assert (done.code, [row["outcome"] for row in done.json]) == (0, ["unchanged"])
    assert trial(fast) == before


def test_one_that_is_over_keeps_its_numbers(fast: World) -> None:
    happened(fast, 12_000)
    assert fast.type("flag", "set", "web/fast", "--variant", "on", "--reason", "it is").code == 0
    assert EXPERIMENT not in published(fast)
    shown = fast.type("experiment", "status", "checkout")
    assert "no flag declares it any more" in shown.out
    assert "ship on" in shown.out
    assert fast.type("experiment", "status").out == "no experiment runs; see: tidegate experiment list\n"


def test_what_is_not_there_is_told(world: World) -> None:
    assert "there is no experiment" in world.type("experiment", "list").out
    missing = world.type("experiment", "status", "checkout")
    assert (missing.code, "there is no experiment checkout" in missing.err) == (1, True)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (('control: "off"', "control: out"), "spec.experiment.control"),
        (("name: refunded", "name: bought"), "spec.experiment.secondary[1].name"),
        (("noDifference: 0.01", 'shares: {"off": 1, "on": 2}'), "spec.experiment.shares"),
        (("noDifference: 0.01", 'shares: {"off": 1, "in": 1}'), "spec.experiment.shares.in"),
        (("noDifference: 0.01", "noDifference: -1"), "spec.experiment.noDifference"),
        (('targeting: {fractional: [["off", 50], ["on", 50]]}', ""), "spec.experiment.shares"),
        (("immediate: true", "immediate: true\n  layer: {name: price, first: 0, count: 10}"), "spec.experiment.shares.off"),
        (
            ('defaultVariant: "off"', 'defaultVariant: "off"\n    metadata: {tidegate.experiment: mine}'),
            "spec.definition.metadata",
        ),
    ],
)
def test_a_faulty_declaration_is_refused_with_its_path(world: World, change: tuple[str, str], path: str) -> None:
    assert change[0] in FAST
    done = set_(world, FAST.replace(*change))
    assert done.code == 2
    assert path in done.err
