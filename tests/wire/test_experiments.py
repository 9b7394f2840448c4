"""What an experiment declares, and what its exposures and sums carry."""

import pytest
from msgspec.structs import replace

from tidegate.wire.codec import Malformed, encode
from tidegate.wire.experiments import (
    METRICS_MAX,
    ArmSums,
    Experiment,
    Metric,
    MetricSums,
    Point,
    Sums,
    Trial,
    dealt,
    experiment_faults,
    sums_of,
    trial_in,
    trial_of,
    trial_text,
)
from tidegate.wire.flags import definition_of

EXPERIMENT = Experiment(name="checkout", control="off", primary=Metric(name="bought"))
TRIAL = Trial(name="checkout", run="0000000a", shares={"off": 1, "on": 1}, metrics=("bought",))


def flag(targeting: object, variants: tuple[str, ...] = ("off", "on")):
    plain = {"state": "ENABLED", "variants": dict.fromkeys(variants, 1), "defaultVariant": variants[0], "targeting": targeting}
    return definition_of(encode(plain))


HALVES = {"fractional": [["off", 50], ["on", 50]]}


@pytest.mark.parametrize(
    ("targeting", "weights"),
    [
        (HALVES, {"off": 50, "on": 50}),
        ({"fractional": [{"var": "email"}, ["off", 1], ["on"]]}, {"off": 1, "on": 1}),
        ({"fractional": [["off", 1], ["on", 0], ["off", 2]]}, {"off": 3}),
        ({"fractional": [["off", {"var": "weight"}], ["on", 1]]}, {}),
        ({"fractional": [[{"var": "x"}, 1], ["on", 1]]}, {}),
        ({"fractional": []}, {}),
        ({"if": [True, HALVES]}, {}),
        (None, {}),
    ],
)
def test_the_weights_of_a_rule_that_is_nothing_but_shares_are_known(targeting, weights):
    assert dealt(targeting) == weights


def test_shares_of_a_part_of_the_variants_keep_the_proportions_of_the_rule():
    thirds = flag({"fractional": [["off", 20], ["on", 40], ["new", 40]]}, ("off", "on", "new"))
    assert experiment_faults(replace(EXPERIMENT, shares={"off": 1, "on": 2}), thirds, None) == []
    ((path, problem),) = experiment_faults(replace(EXPERIMENT, shares={"off": 1, "on": 1}), thirds, None)
    assert (path, "off: 20, on: 40, new: 40" in problem) == ("shares", True)


@pytest.mark.parametrize("names", [("bought", "bought"), ("bought", "paid", "paid")])
def test_a_metric_stands_once(names):
    first, *others = (Metric(name=name) for name in names)
    found = experiment_faults(replace(EXPERIMENT, primary=first, secondary=tuple(others)), flag(HALVES), None)
    assert [path for path, _ in found] == [f"secondary[{len(others) - 1}].name"]


USER, COMPANY = {"var": "targetingKey"}, {"var": "company"}
KEYED = {"cat": [{"var": "$flagd.flagKey"}, USER]}


@pytest.mark.parametrize(
    ("by", "sound"),
    [
        (USER, True),
        (KEYED, True),
        (COMPANY, False),
        ({"cat": [USER, COMPANY]}, False),
        ({"substr": [USER, 0, 1]}, False),
        ("salt", False),
    ],
)
@pytest.mark.parametrize(
    "around", [lambda rule: rule, lambda rule: {"if": [{"var": "beta"}, rule, "off"]}, lambda _: {"$ref": "deal"}]
)
def test_users_who_are_dealt_together_are_not_compared_one_by_one(by, sound, around):
    """Of A/A tests by company a fifth were called different where 5 % is stated."""
    deal = {"fractional": [by, ["off", 50], ["on", 50]]}
    found = experiment_faults(replace(EXPERIMENT, shares={"off": 50, "on": 50}), flag(around(deal)), None, {"deal": deal})
    assert ([problem for _, problem in found if "independent draws" in problem] == []) is sound


def test_what_would_make_every_exposure_too_long_is_refused():
    many = tuple(Metric(name=f"{'m' * 125}-{at}") for at in range(METRICS_MAX - 1))
    ((path, problem),) = experiment_faults(replace(EXPERIMENT, name="e" * 128, secondary=many), flag(HALVES), None)
    assert (path, "too long" in problem) == ("", True)


def test_a_trial_is_read_as_it_was_written_and_what_is_none_is_none():
    found = trial_of(EXPERIMENT, flag(HALVES), "flag/web/fast")
    assert trial_in(trial_text(found)) == found
    for text in ("", "checkout", "{}", '{"name": "x", "run": "g", "shares": {"a": 1}, "metrics": ["b"]}'):
        assert trial_in(text) is None


def test_whoever_changes_anything_begins_anew():
    first = trial_of(EXPERIMENT, flag(HALVES), "flag/web/fast")
    assert trial_of(EXPERIMENT, flag(HALVES), "flag/web/fast") == first
    others = [
        trial_of(replace(EXPERIMENT, alpha=0.01), flag(HALVES), "flag/web/fast"),
        trial_of(EXPERIMENT, flag({"fractional": [["off", 40], ["on", 60]]}), "flag/web/fast"),
        trial_of(EXPERIMENT, flag(HALVES), "flag/web/slow"),
    ]
    assert len({one.run for one in (first, *others)}) == 4


def test_sums_that_do_not_fit_their_trial_are_refused():
    arm = ArmSums(1, 0, (MetricSums(),))
    known = {"trial": TRIAL, "partition": 0, "offset": 1, "set_id": "web", "flag": "fast", "generation": 1}
    good = Sums(arms={"off": arm, "on": arm}, past=(Point(1, ((1, MetricSums()),) * 2),), **known)
    assert sums_of(encode(good)) == good
    bad = [
        replace(good, arms={"off": arm}),
        replace(good, arms={"off": arm, "on": ArmSums(1)}),
        replace(good, past=(Point(1, ()),)),
    ]
    for one in bad:
        with pytest.raises(Malformed):
            sums_of(encode(one))
