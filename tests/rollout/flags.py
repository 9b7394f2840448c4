"""Flags of a small fleet: people who ask, a judge that says what it is told of each guarded service, users who see the topic."""

import msgspec
from msgspec.structs import replace
from tests.rollout.fleet import FLEET, Fleet

from tidegate.flags.evaluate import Asked, evaluate
from tidegate.flags.store import Flags
from tidegate.rollout.events import AlarmArrived, IntentArrived, Tick, VerdictArrived
from tidegate.rollout.flag_levels import FlagLevel, FlagLevels, contexts_of
from tidegate.rollout.ramp_forward import ramp_blockers
from tidegate.wire.codec import encode
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import Intent, PublicKey, Verb
from tidegate.wire.flagchanges import FlagChange, FlagRamp, RampStage
from tidegate.wire.flags import topic_key
from tidegate.wire.flagspecs import FlagSpec
from tidegate.wire.flagstates import FlagState
from tidegate.wire.judgement import AlarmState, Outcome, Verdict
from tidegate.wire.nodeseconds import Context
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

DARK = "flag/web/dark"
USERS = [f"u{number}" for number in range(400)]
STAGES = (RampStage(set_weight=10, bake="10s"), RampStage(set_weight=50, bake="10s"), RampStage(set_weight=100, bake="10s"))


def definition(default: str = "on", **fields) -> msgspec.Raw:
    known = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": default}
    return msgspec.Raw(encode(known | fields))


def spec(default: str = "on", *, guard: tuple[str, ...] = ("shop",), immediate: bool = False, **fields) -> FlagSpec:
    own = {name: fields.pop(name) for name in ("variants", "targeting", "state", "metadata") if name in fields}
    known = {"safe_variant": "off", "guard": () if immediate else guard, "immediate": immediate}
    return FlagSpec(definition=definition(default, **own), **(known | fields))


def ramp(*stages: RampStage, **fields) -> FlagRamp:
    return FlagRamp(stages=stages or STAGES, **fields)


class Story(Fleet):
    """A fleet of three nodes, two services, and flags."""

    def __init__(self) -> None:
        super().__init__(nodes=3, services=("shop", "cart"))
        self.judging: dict[str, Outcome | None] = {}
        """What the judge says each second by service; a pass unless it stands here. None: nothing."""
        self.verdicts_off = False

    def flag(self, subject: str = DARK) -> FlagState:
        return self.ledger.flags[subject]

    def want(
        self, verb: Verb, subject: str = DARK, *, generation: int | None = None, key: PublicKey | None = None, **fields
    ) -> Decision:
        """Ask, and return the record that answers: there is exactly one (D3)."""
        self.intents += 1
        intent = Intent(
            id=f"i{self.intents}",
            fleet=FLEET,
            subject=subject,
            verb=verb,
            generation=self.ledger.generation(subject) if generation is None else generation,
            issued_ms=self.now_ms,
            **({"actor": "kim"} | fields),
        )
        decisions = self.feed(IntentArrived(intent, None, "", self.now_ms, key=key))
        answers = [decision for decision in decisions if decision.answers == intent.id]
        assert len(answers) == 1
        return answers[0]

    def put(self, wanted: FlagSpec, course: FlagRamp | None = None, subject: str = DARK, **fields) -> Decision:
        return self.want(Verb.SET, subject, flag=FlagChange(spec=wanted, ramp=course), **fields)

    def share(self, value: object, name: str = "$evaluators", **fields) -> Decision:
        return self.want(Verb.SET, f"flag/web/{name}", flag=FlagChange(value=msgspec.Raw(encode(value))), **fields)

    def value(self, subject: str = DARK) -> bytes | None:
        """What stands on the topic."""
        return self.level(subject).value

    def level(self, subject: str = DARK) -> FlagLevel:
        return FlagLevels(self.ledger).level(subject)

    def metadata(self, subject: str = DARK) -> dict:
        return msgspec.json.decode(self.value(subject)).get("metadata", {})

    def sees(self, user: str, subject: str = DARK) -> str | None:
        return self.seen(subject, [user])[user]

    def seen(self, subject: str = DARK, users: list[str] | None = None) -> dict[str, str | None]:
        """Each user's variant, as a provider that follows the topic gives it."""
        flags, levels = Flags(), FlagLevels(self.ledger)
        for one in (*self.ledger.flag_sets, *self.ledger.flags):
            flags.put(topic_key(one.removeprefix("flag/")), levels.level(one).value)
        _, set_id, name = subject.split("/")
        asked = [Asked(context={"targetingKey": user}, now_s=0) for user in users or USERS]
        return {one.context["targetingKey"]: evaluate(flags.sets[set_id], name, one).variant for one in asked}

    def having(self, variant: str, subject: str = DARK) -> set[str]:
        return {user for user, seen in self.seen(subject).items() if seen == variant}

    def contexts(self, subject: str = DARK) -> dict[str, Context]:
        return {context.service: context for context in contexts_of(self.ledger, self.flag(subject))}

    def blockers(self, subject: str = DARK) -> list[Reason]:
        return [reason for reason, _ in ramp_blockers(self.ledger, self.view, subject, self.now_ms)]

    def verdict(self, outcome: Outcome, service: str = "shop", subject: str = DARK, **fields) -> tuple[Decision, ...]:
        """The judge speaks of a flag on the telemetry of a service."""
        context = self.contexts(subject)[service]
        known = {
            "placement": context.placement,
            "generation": context.generation,
            "epoch": context.epoch,
            "reason": {Outcome.PASS: Reason.CLEAN, Outcome.FAIL: Reason.LIMIT_BROKEN, Outcome.HOLD: Reason.IDLE}[outcome],
            "canary_requests": 1_000,
            "last_pane_ms": self.now_ms - 1_000,
            "sentence": f"The judge says {outcome}.",
            "action": Action.ROLLBACK if outcome is Outcome.FAIL else None,
        }
        verdict = Verdict(
            subject=subject, service=service, rollout=context.rollout, stage=context.stage, outcome=outcome, **(known | fields)
        )
        return self.feed(VerdictArrived(verdict, self.now_ms))

    def alarms_over(self) -> None:
        """Every open alarm ends now."""
        for alarm in self.view.alarms.values():
            self.feed(AlarmArrived(replace(alarm, state=AlarmState.RESOLVED, end_ms=self.now_ms)))

    def pass_by(self, seconds: int = 1) -> None:
        """Let time pass for flags alone: nodes stand still."""
        for _ in range(seconds):
            self.now_ms += 1_000
            for subject in sorted(self.ledger.flags):
                for service, context in self.contexts(subject).items():
                    said = self.judging.get(service, Outcome.PASS)
                    if context.placement and said is not None:
                        self.verdict(said, service, subject)
            self.feed(Tick())

    def grown(self, percent: int, subject: str = DARK) -> "Story":
        """Let a ramp pass its stages up to a share."""
        for _ in range(200):
            if self.flag(subject).weight == percent * 100:
                return self
            self.pass_by()
        raise AssertionError(f"still {self.flag(subject)}; {self.blockers(subject)}")

    def told(self, subject: str = DARK) -> list[tuple[str, str]]:
        return [(decision.kind, decision.reason) for decision in self.decisions if decision.subject == subject]


def on_for_all(**fields) -> Story:
    """A story in which the flag is on for everyone."""
    story = Story()
    story.put(spec(**fields), ramp())
    story.grown(100).pass_by(15)
    assert story.flag().phase == "done"
    return story


def half_way(**fields) -> Story:
    """A story in which a new flag is on for a tenth."""
    story = Story()
    story.put(spec(**fields), ramp())
    return story.grown(10)


__all__ = ["DARK", "STAGES", "Story", "half_way", "on_for_all", "ramp", "replace", "spec"]
