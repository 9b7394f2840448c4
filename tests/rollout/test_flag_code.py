"""Flags are safe before the code that they need goes, however far back that is, and not back before it is there (G4, H2)."""

import pytest
from msgspec.structs import replace
from tests.rollout.flags import Story, ramp, spec
from tests.rollout.fleet import SHOP, artifact, plan

from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.flagspecs import RequiredVersion
from tidegate.wire.flagstates import Off
from tidegate.wire.plans import Rollback, Stage
from tidegate.wire.reasons import Reason

EVERYONE = (Stage(set_weight=100, bake="1s"),)


def needing(*versions: str):
    return spec(requires_version=tuple(RequiredVersion(service="shop", version=version) for version in versions))


def of(version: str) -> str:
    """The flag that needs a version."""
    return f"flag/web/of{version}"


def settled(*versions: str, flags: str = "123") -> Story:
    """A story in which versions of the service came one after the other, each everywhere, and with some a flag that needs it."""
    story = Story()
    for version in versions:
        before = story.state().settled
        story.install(version) if before is None else story.submit(plan(version, before.version, EVERYONE, watch="1s"))
        story.until(Phase.DONE)
        assert story.state().settled.version == version
        if version in flags:
            story.put(needing(version), ramp(), of(version))
            story.grown(100, of(version)).pass_by(15)
            assert story.flag(of(version)).phase is Phase.DONE
    return story


def fast(story: Story, version: str, before: str = ""):
    """Go back without stages, and return the records of it."""
    known = {"fast": True, "id": f"fast-{version}", "max_unavailable": "100%"}
    return story.submit(plan(version, before or story.state().settled.version, (Stage(set_weight=100),), **known))


def safe(story: Story) -> set[str]:
    """The flags that everyone has the safe variant of, for the code's sake."""
    off = {subject for subject, state in story.ledger.flags.items() if state.off is Off.CODE_RETREATED}
    for subject in story.ledger.flags:
        assert (story.having("on", subject) == set()) is (subject in off)
    return off


@pytest.mark.parametrize(("back_to", "leave"), [("1", "23"), ("2", "3"), ("3", "")])
def test_a_fast_plan_takes_away_every_version_that_came_after_its_own(back_to, leave):
    story = settled("1", "2", "3", "4")
    records = fast(story, back_to)
    went = [(record.subject, record.kind, record.part) for record in records[1:]]
    assert went[: len(leave) + 1] == [
        *((of(version), DecisionKind.SAFE, True) for version in leave),
        (SHOP, DecisionKind.START, False),
    ]
    assert safe(story) == {of(version) for version in leave}
    story.until(Phase.DONE)
    story.check_rebuilt()


def test_a_plan_that_goes_back_by_stages_takes_them_away_when_it_begins():
    story = settled("1", "2", "3")
    story.submit(replace(plan("1", "3"), id="back"))
    assert safe(story) == {of("2"), of("3")}
    story.until(Phase.DONE)
    assert story.want(Verb.RESTORE, of("3")).reason is Reason.CODE_MISSING


def test_what_was_undone_before_is_newer_than_what_came_before_it():
    """3 went back, 4 came; a fast plan to 1 leaves 2, which was settled last, and 4."""
    story = settled("1", "2", "3")
    story.ask(Verb.UNDO)
    story.until(Phase.DONE)
    assert safe(story) == {of("3")}
    story.submit(plan("4", "2", EVERYONE, watch="1s"))
    story.until(Phase.DONE)
    fast(story, "1")
    assert safe(story) == {of("2"), of("3")}


def test_what_a_fast_plan_finds_on_watch_leaves_with_the_rest():
    story = settled("1", "2", flags="2")
    story.submit(plan("3", "2", EVERYONE, watch="1h"))
    story.until(Phase.WATCHING)
    story.put(needing("3"), ramp(), of("3"))
    story.grown(10, of("3"))
    fast(story, "1", before="3")
    assert safe(story) == {of("2"), of("3")}


def test_an_undo_leaves_the_version_that_it_is_of_and_no_other():
    story = settled("1", "2", "3")
    story.ask(Verb.UNDO)
    assert safe(story) == {of("3")}


@pytest.mark.parametrize(("verb", "early"), [(Verb.ABORT, True), (Verb.UNDO, True), (Verb.UNDO, False)])
def test_what_needs_the_version_that_a_fast_plan_left_comes_back_when_all_are_back_on_it(verb, early):
    """The way back from it is slow here: one node at a time."""
    story = settled("1", "2", "3")
    document = plan(
        "1", "3", (Stage(set_weight=100),), fast=True, id="back", max_unavailable="100%", watch="1h" if early else "1s"
    )
    story.submit(replace(document, rollback=Rollback(artifact=artifact("3"), max_unavailable="1")))
    story.until(Phase.WATCHING if early else Phase.DONE)
    assert len(story.on("1")) == 3
    assert story.want(Verb.RESTORE, of("3")).reason is Reason.CODE_MISSING
    story.ask(verb)
    while story.state().phase is Phase.ROLLING_BACK:
        assert story.want(Verb.RESTORE, of("3")).reason is Reason.CODE_MISSING
        story.turn()
    assert (story.state().result is not Result.PROMOTED, len(story.on("3"))) == (True, 3)
    assert story.want(Verb.RESTORE, of("3")).kind is DecisionKind.RESTORE
    assert story.want(Verb.RESTORE, of("2")).reason is Reason.CODE_MISSING


def test_a_fast_plan_that_is_tried_again_takes_them_away_again():
    story = settled("1", "2", "3", flags="23")
    fast(story, "1")
    story.ask(Verb.ABORT)
    story.until(Phase.DONE)
    story.want(Verb.RESTORE, of("3"))
    assert safe(story) == {of("2")}
    story.ask(Verb.RETRY)
    assert safe(story) == {of("2"), of("3")}
