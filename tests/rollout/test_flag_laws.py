"""Whatever people ask, judges say and policies hold in any order: what must always be so of flags."""

import random

from tests.rollout.flags import DARK, Story, ramp, spec

from tidegate.flags.published import WEIGHT_ALL
from tidegate.rollout.events import IntentArrived
from tidegate.rollout.flag_levels import spec_in_force
from tidegate.rollout.flag_steps import TOMBSTONE_MS
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Phase, Verb
from tidegate.wire.flagchanges import FlagChange, RampStage
from tidegate.wire.flags import definition_of
from tidegate.wire.flagspecs import Prerequisite, kill_variant, safe_variant
from tidegate.wire.flagstates import FlagState, Off
from tidegate.wire.judgement import AlarmState, Outcome
from tidegate.wire.plans import Action
from tidegate.wire.policies import Freeze

OTHER = "flag/web/other"
VARIANTS = {"on": 1, "off": 0, "new": 2}
GROWS = frozenset({DecisionKind.START, DecisionKind.PROMOTE, DecisionKind.COMPLETE})
STEPS = 60
FEW = [f"u{number}" for number in range(12)]


class Law(Story):
    """A story that looks at each record as it is written."""

    def feed(self, event):
        before = dict(self.ledger.flags)
        asked = event.intent.subject if isinstance(event, IntentArrived) and event.intent is not None else ""
        had = self.values(asked)
        decisions = super().feed(event)
        if asked in before and [decision.kind for decision in decisions] == [DecisionKind.ACCEPT]:
            safe = VARIANTS[safe_variant(before[asked].spec)]
            assert self.values(asked) in (had, [safe] * len(had)), "what waits changes what nobody has"
        for decision in decisions:
            if decision.flag is not None:
                self.check(before.get(decision.subject), decision.flag, decision.kind)
                before[decision.subject] = decision.flag
        return decisions

    def check(self, before: FlagState | None, after: FlagState, kind: DecisionKind) -> None:
        assert after.generation == (before.generation if before else 0) + 1
        assert 0 <= after.weight <= after.held <= WEIGHT_ALL
        same = before is not None and before.spec == after.spec
        # Where it was set again as it was, an abort gives everyone what they have already.
        if same and after.held > before.held and not before.pinned and before.before != after.spec:
            assert kind in GROWS, "a share grows by stages alone"
        if same and kind is DecisionKind.PROMOTE:
            verdict = self.view.verdicts[f"{after.subject} shop"]
            assert (verdict.outcome, verdict.placement) == (Outcome.PASS, before.placement)
        if before is not None and before.archived:
            assert (after.archived, kind, after.spec) == (True, DecisionKind.REMOVE, before.spec)
            assert not before.removed, "of what is gone nothing comes any more"
        assert bool(after.placement) is (after.under_way and not after.pinned)
        if after.phase in (Phase.RUNNING, Phase.PAUSED):
            assert after.ramp is not None

    def values(self, subject: str) -> list[object]:
        """What a few users have of a flag."""
        if subject not in self.ledger.flags or self.ledger.flags[subject].removed:
            return []
        variants = definition_of(self.value(subject)).variants
        return [variants[seen] for seen in self.seen(subject, FEW).values()]

    def look(self) -> None:
        """What users have is what was decided."""
        for subject, state in self.ledger.flags.items():
            value = self.value(subject)
            if state.removed:
                assert value is None
                continue
            definition_of(value)
            seen = set(self.seen(subject, FEW).values())
            there = spec_in_force(state)
            if state.killed and not state.archived:
                assert seen == {kill_variant(there)}
            elif state.pinned or (state.weight == 0 and state.before is None):
                assert seen == {safe_variant(there)}
            if state.off is Off.SWITCHED_OFF:
                assert state.held == 0


def any_spec(dice: random.Random, subject: str):
    needs = (Prerequisite(flag="other", variants=("on",)),) if subject == DARK and dice.random() < 0.3 else ()
    default = dice.choice(["on", "new", "off"])
    rule = {"if": [{"in": ["@b", {"var": "email"}]}, "new", None]} if dice.random() < 0.5 else None
    immediate = dice.random() < 0.3
    pins = {"safe_variant": dice.choice(["off", "off", "off", "new"]), "kill_variant": dice.choice([None, None, None, "on"])}
    wanted = spec(default, immediate=immediate, variants=VARIANTS, targeting=rule, prerequisites=needs, **pins)
    stages = (RampStage(set_weight=dice.choice([1, 10, 30]), bake="2s"), RampStage(set_weight=100, bake="2s"))
    return FlagChange(spec=wanted, ramp=None if immediate else ramp(*stages, on_fail=dice.choice(list(Action))))


def act(story: Law, dice: random.Random) -> None:
    subject = dice.choice([DARK, OTHER])
    match dice.randrange(8):
        case 0 | 1:
            story.want(Verb.SET, subject, flag=any_spec(dice, subject))
        case 2 | 3:
            verb = dice.choice([verb for verb in Verb if verb not in (Verb.SET, Verb.ARCHIVE)])
            generation = None if dice.random() < 0.8 else 0
            held = story.ledger.flags.get(subject)
            target = held.quarantined[0] if held is not None and held.quarantined else ""
            story.want(verb, subject, generation=generation, weight=dice.choice([0, 500, 5_000, 10_000]), target=target)
        case 4:
            if subject in story.ledger.flags and (context := story.contexts(subject).get("shop")) and context.placement:
                fields = {"action": dice.choice(list(Action))} if dice.random() < 0.5 else {}
                story.verdict(dice.choice(list(Outcome)), "shop", subject, **fields)
        case 5:
            story.policy(freezes=dice.choice([(), (Freeze(),)])) if dice.random() < 0.5 else story.alarm(AlarmState.FIRING)
        case 6:
            story.alarms_over()
        case _:
            if dice.random() < 0.05:
                story.want(Verb.ARCHIVE, subject)
            elif dice.random() < 0.1:
                story.now_ms += TOMBSTONE_MS
    story.pass_by(dice.choice([0, 1, 3, 40]))


def history(seed: int) -> Law:
    dice, story = random.Random(seed), Law()
    for _ in range(STEPS):
        act(story, dice)
        story.look()
    story.check_rebuilt()
    return story


def test_whatever_happens():
    kinds = {decision.kind for seed in range(20) for decision in history(seed).decisions if decision.subject in (DARK, OTHER)}
    assert kinds >= GROWS | {"accept", "pause", "resume", "rollback", "kill", "restore", "share", "archive", "remove", "refuse"}
