"""The short form of ``make prove ARGS="--only judge_kills"``: half a rollout, two kills, the same comparison."""

import pytest
from tests.prove.judge_kills import run

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]


async def test_a_judge_that_is_killed_says_what_one_says_that_is_not(private_kafka, tmp_path, say):
    found = await run(tmp_path, kills=2, seconds=31, pace=0.3, broker=private_kafka)
    say(str(found))
    assert found["verdicts"]["compared"] > 30
