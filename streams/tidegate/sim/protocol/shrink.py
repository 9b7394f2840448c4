"""Shrinking: a story that fails becomes as short as it can be and still fail in the same way.

First whole stretches of acts are left out, then single ones (delta debugging, Zeller and Hildebrandt 2002); then every number is
made as plain as it may be.
"""

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from tidegate.sim.protocol.story import Act, Links, Shape, Story

Fails = Callable[[Story], bool]


def shorter(story: Story, fails: Fails, tries: int = 600) -> Story:
    """Return the shortest story found that still ``fails``, with at most so many tries; ``story`` itself fails."""
    left = tries

    def check(candidate: Story) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and fails(candidate)

    while left > 0:
        before = story
        story = _fewer(story, check)
        for plainer in _plainer(story):
            if plainer != story and check(plainer):
                story = plainer
                break
        if story == before:
            return story
    return story


def _fewer(story: Story, fails: Fails) -> Story:
    """Leave out acts, halves of them first."""
    size = max(1, len(story.acts) // 2)
    while size:
        at = 0
        while at < len(story.acts):
            candidate = replace(story, acts=story.acts[:at] + story.acts[at + size :])
            if fails(candidate):
                story = candidate
            else:
                at += size
        size //= 2
    return story


def _plainer(story: Story) -> Iterator[Story]:
    yield replace(story, links=Links())
    for name in Links.__struct_fields__:
        yield replace(story, links=replace(story.links, **{name: getattr(Links(), name)}))
    yield replace(story, shape=Shape())
    for name in Shape.__struct_fields__:
        yield replace(story, shape=replace(story.shape, **{name: getattr(Shape(), name)}))
    for number in range(1, story.deciders):
        yield replace(story, deciders=number)
    for number in range(2, story.nodes):
        yield replace(story, nodes=number)
    yield replace(story, start_ms=0, judge_lag_ms=0)
    yield replace(story, start_ms=0)
    yield replace(story, judge_lag_ms=0)
    yield replace(story, restart_ms=6_000)
    for index, act in enumerate(story.acts):
        for plain in _plain_acts(act):
            yield replace(story, acts=(*story.acts[:index], plain, *story.acts[index + 1 :]))


def _plain_acts(act: Act) -> Iterator[Act]:
    """Round times, the coarsest first."""
    for unit in (1_000, 100):
        if act.at_ms % unit:
            yield replace(act, at_ms=act.at_ms // unit * unit)
        if act.lasts_ms % unit:
            yield replace(act, lasts_ms=act.lasts_ms // unit * unit)
    if act.who:
        yield replace(act, who=act.who % 60)
    if act.how >= 840:
        yield replace(act, how=act.how % 840)
