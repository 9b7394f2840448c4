"""Rivals are what they are said to be: right where their assumptions hold, early or late where they must be."""

import numpy as np
import pytest
from msgspec.structs import replace
from tests.bench.rivals.argo import Argo
from tests.bench.rivals.iid import THRESHOLD, IidSequential, log_e
from tests.bench.rivals.kayenta import Kayenta, high
from tests.bench.rivals.sides import Rival, sides_of
from tests.sim.test_fleet import QUIET

from tidegate.sim import WORLDS, Episode, Fault, FaultKind, Run, World


def rolled_back_s(rival: Rival, world: World = QUIET, fault: Fault | None = None, *, seed: int = 1, hours: float = 0.25):
    run = Run(Episode(world=world, canaries=5, past=None, history_s=300, hours=hours, fault=fault), np.random.default_rng(seed))
    rival.learn(sum(block.counts.sum(axis=(0, 1)) for _, block in run.prelude_blocks()))
    for number, block in enumerate(run.blocks()):
        end = rival.look(sides_of(block))
        if end is not None:
            return 10 * number + end
    return None


@pytest.mark.parametrize("rival", [Argo, IidSequential])
def test_nobody_rolls_back_where_only_chance_differs(rival):
    assert rolled_back_s(rival()) is None


@pytest.mark.parametrize(
    ("rival", "second"),
    [(Argo, 300), (Kayenta, 360)],  # the fourth poll and the fifth point, a minute after the restart
)
def test_polling_is_as_late_as_its_interval(rival, second):
    assert rolled_back_s(rival(), fault=Fault(FaultKind.ERRORS, 0.05)) == second
    assert rolled_back_s(rival(), fault=Fault(FaultKind.LATENCY, 1.0)) == second


def test_the_sequential_test_needs_seconds():
    assert 60 < rolled_back_s(IidSequential(), fault=Fault(FaultKind.ERRORS, 0.05)) < 65
    assert 60 < rolled_back_s(IidSequential(), fault=Fault(FaultKind.LATENCY, 0.5)) < 65


def test_hosts_that_differ_are_enough_for_the_sequential_test_to_roll_back():
    hours = [rolled_back_s(IidSequential(), replace(WORLDS["everything"]), seed=seed, hours=1.0) for seed in range(6)]
    assert any(second is not None for second in hours)


def test_the_e_value_is_one_in_the_mean_under_its_null_and_one_sided():
    source = np.random.default_rng(1)
    values = [np.exp(log_e(x, 500 - x, 0.2)) for x in source.binomial(500, 0.2, 4_000).astype(float).tolist()]
    assert np.mean(values) < 1.6  # what lies below its share counts 1 instead of less
    assert np.mean(np.array(values) >= np.exp(THRESHOLD)) < 0.01
    assert log_e(5.0, 500.0, 0.2) == 0.0


def test_mann_whitney_wants_a_shift_beyond_a_quarter_of_its_estimate():
    base = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.0])
    assert high(base + 1.0, base)
    assert not high(base - 1.0, base)
    assert not high(base + 0.02, base)
