import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.detect import simulated_experiments as sim
from tests.detect.simulated_experiments import ALPHA, HEAVY, Plan

from tidegate.detect.experiments import (
    DOUBLE_MAX,
    EVENTS_MIN,
    EXPECTED,
    MISMATCH_ALPHA,
    RUN_S_MIN,
    USERS_MIN,
    USERS_MIN_BINARY,
    Arm,
    Design,
    Estimate,
    Metric,
    Proposed,
    Seen,
    Standing,
    Why,
    compare,
    doubled,
    mismatch,
    propose,
)

FEW = 400
"""Simulated experiments of the suite; ``make prove ARGS="--only experiments"`` plays 2,000."""
MOST = 31
"""Of so many, 5 % are 20; by chance it is more than this less than once in a hundred times."""
NATS = math.log(1.0 / MISMATCH_ALPHA)
EVEN = {"control": 1.0, "treatment": 1.0}


def rate(users: int, share: float) -> Arm:
    """Users of whom such a share did it."""
    did = float(round(users * share))
    return Arm(users, did, did)


def estimate(control: Arm, treatment: Arm, *, alpha: float = 0.05, binary: bool = True) -> Estimate:
    return compare(control, treatment, alpha=alpha, binary=binary)


# --- estimates


def test_a_difference_is_the_treatments_mean_less_the_controls_and_relative_to_it() -> None:
    found = estimate(rate(10_000, 0.1), rate(10_000, 0.12))
    assert found.difference == pytest.approx(0.02)
    assert found.relative == pytest.approx(0.2)
    assert found.low < 0.02 < found.high


arms = st.builds(rate, st.integers(50, 2_000_000), st.floats(0.0, 1.0))


@given(arms, arms, st.floats(1e-6, 0.5))
def test_the_interval_leaves_out_none_exactly_where_the_evidence_is_enough(control: Arm, treatment: Arm, alpha: float) -> None:
    found = estimate(control, treatment, alpha=alpha)
    margin = found.log_e - math.log(1.0 / alpha)
    if abs(margin) > 1e-6:
        assert (found.low > 0.0 or found.high < 0.0) == (margin > 0.0)


@given(arms, arms)
def test_changing_sides_turns_the_difference_round_and_nothing_else(control: Arm, treatment: Arm) -> None:
    one, other = estimate(control, treatment), estimate(treatment, control)
    assert other.log_e == pytest.approx(one.log_e)
    assert (other.difference, other.low, other.high) == pytest.approx((-one.difference, -one.high, -one.low))


sums = st.floats(-1e300, 1e300) | st.sampled_from([0.0, math.inf, -math.inf])
anything = st.builds(Arm, st.integers(0, 1 << 53), sums, sums.map(abs))


@given(anything, anything, st.booleans())
def test_any_sums_have_an_answer_that_is_a_number(control: Arm, treatment: Arm, binary: bool) -> None:
    found = estimate(control, treatment, binary=binary)
    assert found.low <= found.difference <= found.high
    assert not math.isnan(found.log_e)
    assert 0.0 <= found.p_value <= 1.0


@pytest.mark.parametrize(
    ("control", "treatment", "binary"),
    [
        (Arm(), rate(10_000, 0.1), True),
        (rate(USERS_MIN_BINARY - 1, 0.5), rate(10_000, 0.5), True),
        (rate(5_000, 0.004), rate(5_000, 0.005), True),  # 22.5 are due in each arm
        (rate(5_000, 0.996), rate(5_000, 0.995), True),  # as many that did not
        (Arm(USERS_MIN - 1, 0.0, 900.0), Arm(10_000, 5_000.0, 9_000.0), False),
        (Arm(10_000), Arm(10_000), False),  # nobody did anything
        (Arm(10_000, 1e200, math.inf), Arm(10_000, 1.0, 1.0), False),
    ],
)
def test_too_little_is_said_to_be_nothing(control: Arm, treatment: Arm, binary: bool) -> None:
    found = estimate(control, treatment, binary=binary)
    assert (found.low, found.high, found.log_e, found.p_value) == (-math.inf, math.inf, 0.0, 1.0)


def test_a_variant_in_which_nobody_does_it_any_more_is_judged_by_what_would_be_due() -> None:
    assert estimate(rate(2_000, EVENTS_MIN / 1_000), rate(2_000, 0.0)).high < 0.0


def test_values_that_are_all_the_same_differ_by_no_rounding() -> None:
    same = [sum([0.1] * users) for users in (5_000, 6_000)]
    found = estimate(Arm(5_000, same[0], same[0] * 0.1), Arm(6_000, same[1], same[1] * 0.1), binary=False)
    assert found.low < 0.0 < found.high


def test_the_width_is_tuned_to_a_number_of_users() -> None:
    """A tenth of them costs 27 % of the narrowest width, ten times as many 7 %."""
    arm = rate(EXPECTED // 2, 0.5)

    def width(expected: float) -> float:
        found = compare(arm, arm, alpha=0.05, binary=True, expected=expected)
        return found.high - found.low

    assert [width(EXPECTED * times) / width(EXPECTED) for times in (10, 0.1)] == pytest.approx([1.27, 1.068], rel=0.01)


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("base", [0.005, 0.05, 0.5])
def test_equal_rates_that_are_looked_at_all_the_time_are_seldom_called_different(base: float, share: float) -> None:
    found = sim.aa_binary(1, FEW, Plan(100_000, share, 0.05), base)
    assert found.hits <= MOST, found.shown()


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("draw", HEAVY.values(), ids=HEAVY)
def test_equal_means_of_heavy_tails_are_seldom_called_different(draw: sim.Draw, share: float) -> None:
    """With each arm's own variance, where a tenth are treated, it is up to 17 % of experiments."""
    found = sim.aa_means(2, FEW // 2, Plan(10_000, share, 0.05), draw)
    assert found.hits <= MOST // 2, found.shown()


@pytest.mark.parametrize("rates", [(0.005, 0.01), (0.99, 0.999)])
def test_the_interval_keeps_a_true_difference_in_a_small_arm(rates: tuple[float, float]) -> None:
    found = sim.left_out(3, FEW, Plan(100_000, 0.1, 0.05), rates)
    assert found.hits <= MOST, found.shown()


def test_what_users_do_late_changes_nothing() -> None:
    found = sim.run(FEW, lambda n: sim.found_at(sim.late(sim.generator(4, n), Plan(5_000, 0.5, 0.05), 0.1, 0.3), binary=True))
    assert found.hits <= MOST, found.shown()


def test_an_effect_is_found_with_less_than_twice_the_users_of_a_test_with_one_look() -> None:
    """Four times in five, of an effect that such a test finds four times in five."""
    rates = (0.05, 0.06)
    fixed = sim.fixed_users(sum(one * (1.0 - one) for one in rates), rates[1] - rates[0])
    row = sim.against_fixed(sim.power_binary(5, FEW, Plan(fixed * 4, 0.5, 0.02), rates), fixed)
    assert row["users_80_percent"] < 2.0 * fixed, row
    assert row["found_before_fixed"] > 0.3, row


# --- how users were dealt


def test_48_to_52_for_an_even_split_is_known_within_40_000_users() -> None:
    found = sim.mismatched(6, FEW, Plan(40_000, 0.52, 0.05), 0.5, NATS)
    assert found.hits == FEW, found.shown()


def test_users_who_are_dealt_as_promised_are_never_called_mismatched() -> None:
    """Once in a thousand experiments it may be."""
    found = sim.mismatched(7, FEW // 2, Plan(1_000_000, 0.2, 0.05), 0.2, NATS)
    assert found.hits <= 1, found.shown()


@given(st.lists(st.integers(1, 9), min_size=2, max_size=3), st.integers(1, 6))
def test_a_mismatch_is_an_e_value(parts: list[int], users: int) -> None:
    """Its mean over all ways to deal some users as promised is 1, worked out for each."""
    names = [str(number) for number in range(len(parts))]
    weights = dict(zip(names, map(float, parts), strict=True))
    mean = 0.0
    for counts in _ways(users, len(parts)):
        log_chance = math.lgamma(users + 1) + sum(
            count * math.log(part / sum(parts)) - math.lgamma(count + 1) for count, part in zip(counts, parts, strict=True)
        )
        mean += math.exp(log_chance + mismatch(dict(zip(names, counts, strict=True)), weights))
    assert mean == pytest.approx(1.0)


def _ways(users: int, cells: int) -> list[tuple[int, ...]]:
    if cells == 1:
        return [(users,)]
    return [(first, *rest) for first in range(users + 1) for rest in _ways(users - first, cells - 1)]


def test_a_variant_that_nobody_sees_is_missed_soon_and_one_without_weight_is_not_looked_at() -> None:
    assert mismatch({"control": 40}, EVEN) >= NATS
    assert mismatch({"control": 40, "treatment": 40, "old": 1_000}, EVEN | {"old": 0.0}) < 0.0
    assert mismatch({"control": 40}, {"control": 1.0}) == 0.0
    assert mismatch({}, EVEN) == pytest.approx(0.0)


@given(st.integers(1, 60))
def test_double_exposures_at_the_limit_are_an_e_value(users: int) -> None:
    """Its mean over what may be seen is 1, worked out for each."""
    chances = [
        math.comb(users, double) * DOUBLE_MAX**double * (1.0 - DOUBLE_MAX) ** (users - double) for double in range(users + 1)
    ]
    mean = sum(chance * math.exp(doubled(double, users)) for double, chance in enumerate(chances))
    assert mean == pytest.approx(1.0)


def test_twice_as_many_double_exposures_as_may_be_are_known_soon_and_fewer_speak_for_nothing() -> None:
    assert doubled(60, 3_000) >= NATS
    assert doubled(12, 12) >= NATS
    assert doubled(0, 0) == pytest.approx(0.0)
    assert doubled(100, 10_000) < 0.0


# --- what is proposed

BUYS = Metric(name="buys", binary=True)
ERRS = Metric(name="errs", binary=True, increase=False)
DESIGN = Design(control="control", weights={"control": 1.0, "blue": 1.0, "red": 1.0}, primary=BUYS, guards=(ERRS,))
USERS = 100_000
SAME = dict.fromkeys(DESIGN.weights, 0.1)


def seen(buys: dict[str, float], errs: dict[str, float] = SAME, users: int = USERS, ran_s: float = RUN_S_MIN) -> Seen:
    shares = {"buys": buys, "errs": errs}
    return Seen(
        ran_s=ran_s,
        users=dict.fromkeys(SAME, users),
        arms={metric: {name: rate(users, share) for name, share in found.items()} for metric, found in shares.items()},
    )


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (seen(SAME | {"red": 0.11}), (Proposed.SHIP, Why.BETTER, "red")),
        (seen(SAME | {"red": 0.11, "blue": 0.12}), (Proposed.SHIP, Why.BETTER, "blue")),
        (seen(SAME | {"red": 0.11, "blue": 0.09}), (Proposed.SHIP, Why.BETTER, "red")),
        (seen(SAME | {"red": 0.11}, SAME | {"red": 0.11}), (Proposed.KEEP_RUNNING, Why.GUARD_WORSE, "red")),
        (seen(SAME | {"red": 0.11, "blue": 0.12}, SAME | {"blue": 0.11}), (Proposed.SHIP, Why.BETTER, "red")),
        (seen(SAME, SAME | {"red": 0.05}), (Proposed.KEEP_RUNNING, Why.UNDECIDED, None)),
        (seen(SAME | {"red": 0.09, "blue": 0.09}), (Proposed.SHIP, Why.CONTROL_BETTER, "control")),
        (seen(SAME | {"red": 0.09}), (Proposed.KEEP_RUNNING, Why.UNDECIDED, None)),
        (seen(SAME), (Proposed.KEEP_RUNNING, Why.UNDECIDED, None)),
        (seen(SAME, users=99), (Proposed.KEEP_RUNNING, Why.TOO_FEW, None)),
        (seen(SAME | {"red": 0.11}, ran_s=RUN_S_MIN - 1), (Proposed.KEEP_RUNNING, Why.TOO_SHORT, None)),
        (replace(seen(SAME | {"red": 0.11}), double=1_500 * 3), (Proposed.INVALID, Why.DOUBLE_EXPOSURES, None)),
        (replace(seen(SAME | {"red": 0.11}), double=1_000 * 3), (Proposed.SHIP, Why.BETTER, "red")),
        (
            replace(seen(SAME | {"red": 0.11}, ran_s=0.0), users={"control": USERS, "red": USERS, "blue": 97_000}),
            (Proposed.INVALID, Why.MISMATCH, None),
        ),
        (Seen(ran_s=RUN_S_MIN, users={}, arms={}), (Proposed.KEEP_RUNNING, Why.TOO_FEW, None)),
    ],
    ids=[
        "one is better",
        "the better of two",
        "one is better and one worse",
        "better, and worse where it is guarded",
        "the best is worse where it is guarded",
        "a guard ships nothing",
        "all are worse",
        "one is worse and one may be better",
        "nothing is known",
        "too few",
        "too short",
        "half again as many saw two variants as may",
        "as many as may",
        "mismatch, however short it ran",
        "nothing came in",
    ],
)
def test_a_proposal_follows_from_sums(what: Seen, expected: tuple[Proposed, Why, str | None]) -> None:
    found = propose(DESIGN, what)
    assert (found.outcome, found.reason, found.variant) == expected


@pytest.mark.parametrize(
    ("buys", "expected"),
    [
        (SAME, (Proposed.STOP_NO_DIFFERENCE, Why.NEGLIGIBLE, None)),
        (SAME | {"red": 0.107}, (Proposed.STOP_NO_DIFFERENCE, Why.NEGLIGIBLE, None)),
        (SAME | {"red": 0.05}, (Proposed.STOP_NO_DIFFERENCE, Why.NEGLIGIBLE, None)),
        (SAME | {"red": 0.13}, (Proposed.SHIP, Why.BETTER, "red")),
    ],
    ids=["none", "a sure one that is not worth it", "one is worse", "one that is worth it"],
)
def test_differences_within_what_was_declared_negligible_stop(
    buys: dict[str, float], expected: tuple[Proposed, Why, str | None]
) -> None:
    found = propose(replace(DESIGN, primary=replace(BUYS, negligible=0.015)), seen(buys))
    assert (found.outcome, found.reason, found.variant) == expected


def test_less_of_what_should_be_less_is_better() -> None:
    fewer = replace(DESIGN, primary=ERRS, guards=())
    assert propose(fewer, seen(SAME, SAME | {"blue": 0.09})).variant == "blue"
    assert propose(fewer, seen(SAME, SAME | {"blue": 0.11})).outcome is Proposed.KEEP_RUNNING


def test_every_comparison_gets_its_part_of_alpha_and_the_proposal_carries_them_all() -> None:
    found = propose(DESIGN, seen(SAME | {"red": 0.11}))
    assert [(one.metric, one.variant, one.alpha, one.standing) for one in found.compared] == [
        ("buys", "blue", ALPHA / 4, Standing.UNDECIDED),
        ("buys", "red", ALPHA / 4, Standing.BETTER),
        ("errs", "blue", ALPHA / 4, Standing.UNDECIDED),
        ("errs", "red", ALPHA / 4, Standing.UNDECIDED),
    ]
    red = found.compared[1]
    assert red.estimate == compare(red.control, red.treatment, alpha=ALPHA / 4, binary=True)
    assert found.mismatch_log_e == mismatch(dict.fromkeys(SAME, USERS), DESIGN.weights)


def test_of_equal_variants_and_two_metrics_hardly_anything_is_ever_proposed() -> None:
    found = sim.proposed(8, FEW // 4, Plan(50_000, step=0.05))
    assert found.hits <= MOST // 4, found.shown()
