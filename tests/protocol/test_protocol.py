"""Deciders and nodes in simulated worlds: the promises I1 to I11 hold under every fault, and no guard is there for nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.protocol import killers, runner
from tests.protocol.mutants import MUTANTS, without

from tidegate.sim.protocol import Act, Deed, Story
from tidegate.world.play import play

TOP = Path(__file__).parents[2]
KILLERS = killers.read()
PROMISES = {f"I{number}" for number in range(1, 12)} | {"D3", "E5", "H1"}
CALM = Story(seed=1, acts=(Act(0, Deed.PLAN, 0, 0),))
SEEN_AT_ONCE = {"persisting before acting", "stages of the decider", "target"}
"""What these guard against happens in every rollout."""
FIRST = 1_000_000
"""Other seeds than those of ``make sim-protocol``."""
FEW, MANY = 30, 2_000
DIGESTS = """
import sys
from tests.protocol import runner
from tidegate.world.play import play
with runner.quiet():
    print(*(play(runner.story_of(seed)).digest for seed in map(int, sys.argv[1:])))
"""


@pytest.fixture(autouse=True)
def silence():
    with runner.quiet():
        yield


def complaints(tally: runner.Tally) -> list[str]:
    return [f"make sim-protocol ARGS='--tell {one.seed}': {one.rule}: {one.sentence}" for one in tally.failed]


def test_in_some_stories_every_promise_holds():
    tally = runner.play_many(range(FIRST, FIRST + FEW))
    assert complaints(tally) == []
    assert tally.launches > FEW


@pytest.mark.scenario
def test_in_many_stories_every_promise_holds():
    tally = runner.run(FIRST, MANY, os.cpu_count() or 1)
    assert complaints(tally) == []
    assert (tally.stories, tally.launches > MANY) == (MANY, True)


def test_stories_hold_every_deed():
    drawn = {act.deed for seed in range(100) for act in runner.story_of(seed).acts}
    assert drawn == set(Deed)


def test_every_mutant_has_its_story():
    assert set(KILLERS) == set(MUTANTS)
    assert len(MUTANTS) >= 10


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_without_a_guard_one_of_its_stories_breaks_a_promise_and_with_it_none(mutant):
    with runner.remembering():
        found = killers.first_killer(mutant, KILLERS.get(mutant, ()))
    assert found is not None, (
        f"no stored story kills this mutant any more; find others: make sim-protocol ARGS=\"--hunt '{mutant}'\""
    )
    assert found[1] in PROMISES


@pytest.mark.parametrize("mutant", sorted(MUTANTS.keys() - SEEN_AT_ONCE))
def test_without_a_guard_a_fleet_that_nothing_befalls_does_not_notice(mutant):
    """What is taken out is a guard against faults: a replacement that breaks the loop as such would prove nothing."""
    with without(mutant):
        assert play(CALM).violations == ()


def test_a_story_told_twice_is_the_same_to_the_byte():
    seeds = [7, 11]
    here = [play(runner.story_of(seed)).digest for seed in seeds]
    there = subprocess.run(
        [sys.executable, "-c", DIGESTS, *map(str, seeds)],
        cwd=TOP,
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_what_a_story_remembers_and_its_stand_ins_for_signatures_change_nothing_that_happens(seed):
    story = runner.story_of(seed)
    with runner.remembering():
        remembered = play(story, tell=True)
    really = play(story, tell=True)
    assert (remembered.told, remembered.launches) == (really.told, really.launches)


def test_a_story_that_fails_is_cut_short_and_told_in_words():
    mutant = "persisting before acting"
    long = next(
        story for story in map(runner.story_of, range(50)) if len(story.acts) > 8 and runner.fails_as(story, "I11", mutant)
    )
    short = runner.shortest(long, "I11", mutant)
    assert len(short.acts) == 1
    lines = runner.told(short, mutant)
    assert [line for line in lines if line.endswith("everything is mended") or "starts" in line]
    assert "its disk does not say that it was begun" in lines[-1]
