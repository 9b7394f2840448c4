"""The short form of ``make prove ARGS="--only exact"``: the same comparison, a smaller fleet, fewer misfortunes."""

import pytest
from tests.prove.exact import Story, run

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.scenario,
    pytest.mark.thorough,
]  # alone: on a busy machine rows come late, and then it shows nothing


async def short_story(story: Story) -> None:
    await story.happens("both roles start", story.each(0, story.begin), 6)
    await story.happens("a second of each role joins", story.each(1, story.begin), 6)
    await story.happens("intake-1 and judge-1 leave", story.each(1, story.leave), 3)
    await story.happens("a second of each role joins again", story.each(1, story.begin), 5)
    await story.happens("intake-0 and judge-0: kill -9, no restart", story.each(0, story.kill), 10)
    await story.happens("intake-1 and judge-1: kill -9, restart at once", lambda: again(story), 5)


def again(story: Story) -> None:
    for instance in ("intake-1", "judge-1"):
        story.kill(instance)
        story.begin(instance)


async def test_kpis_are_those_of_a_run_that_nothing_happened_to(private_kafka, tmp_path, say):
    found = await run(tmp_path, short_story, services=6, nodes=20, broker=private_kafka)
    say(str(found))
    assert found["rows_late"] == 0
