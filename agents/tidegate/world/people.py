"""Those around the fleet: an operator who signs plans and asks for things, and a judge who knows the truth of every version."""

from msgspec.structs import replace

from tidegate.sim.protocol import Deed
from tidegate.wire.codec import encode
from tidegate.wire.documents import BreakGlass, GlassAction, Intent, KeyRole, Verb
from tidegate.wire.envelope import seal
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason
from tidegate.world import cast
from tidegate.world.fleet import Fleet, Host
from tidegate.world.network import Sent

VERBS = {
    Deed.ABORT: Verb.ABORT,
    Deed.PAUSE: Verb.PAUSE,
    Deed.RESUME: Verb.RESUME,
    Deed.PROMOTE: Verb.PROMOTE,
    Deed.UNDO: Verb.UNDO,
    Deed.RETRY: Verb.RETRY,
}
JUDGED_EVERY_MS = 1_000
JUDGED_AFTER_MS = 1_500
"""So long after it began a placement has shown what it is."""


class Operator:
    """Signs plans and intents, by what the ledger says."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._plans = len(fleet.broker.topic("plans"))
        self._intents = 0
        self._glasses = 0
        self.envelopes: list[bytes] = []

    def plan(self, how: int) -> None:
        """Ask for the next version; one in five sends an earlier plan once more."""
        fleet = self._fleet
        if how % 5 == 4 and self.envelopes:
            envelope = self.envelopes[how // 5 % len(self.envelopes)]
        else:
            self._plans += 1
            kind = cast.KINDS[how // 5 % len(cast.KINDS)]
            state = fleet.watch.chain.state(cast.SUBJECT)
            settled = state.settled if state is not None else None
            version = f"v{self._plans}-{kind}" if settled is not None else cast.FIRST
            asked = cast.plan(f"p{self._plans}", version, settled, fleet.story.shape, fleet.timeline.now_ms)
            envelope = seal(asked, cast.signer("operator"))
            self.envelopes.append(envelope)
            fleet.tell(f"an operator asks for {version}")
        fleet.broker.land(Sent("plans", cast.SUBJECT, envelope), "operator")

    def ask(self, deed: Deed, how: int) -> None:
        """Ask for something; one in four saw an older generation."""
        fleet = self._fleet
        self._intents += 1
        state = fleet.watch.chain.state(cast.SUBJECT)
        generation = state.generation if state is not None else 0
        intent = Intent(
            id=f"i{self._intents}",
            fleet=cast.FLEET,
            subject=cast.SUBJECT,
            verb=VERBS[deed],
            generation=generation - (how % 4 == 3),
            actor="operator",
            issued_ms=fleet.timeline.now_ms,
        )
        fleet.tell(f"an operator asks to {deed}")
        fleet.broker.land(Sent("intents", cast.SUBJECT, seal(intent, cast.signer("operator"))), "operator")

    def break_glass(self, how: int) -> None:
        """Stop or go back without the deciders (E5)."""
        fleet = self._fleet
        last = fleet.watch.authors.last
        if last is None:
            return
        self._glasses += 1
        action = (GlassAction.ROLLBACK, GlassAction.PAUSE)[how % 2]
        glass = BreakGlass(
            id=f"g{self._glasses}",
            fleet=cast.FLEET,
            subject=cast.SUBJECT,
            root_version=fleet.root.version,
            generation=last.document.generation,
            action=action,
            actor="operator",
            reason="because",
            issued_ms=fleet.timeline.now_ms,
        )
        fleet.tell(f"an operator breaks the glass: {action} up to generation {glass.generation}")
        fleet.broker.land(Sent("desired", glass.key, seal(glass, cast.signer("breakglass"))), "operator")

    def rotate(self, host: Host, how: int) -> None:
        """Give a decider another key; two of three times the one before counts no more from now on."""
        fleet, before = self._fleet, host.key
        root, overlap = fleet.root, how % 3 == 0
        host.key = f"{host.name}-{root.version + 1}"
        kept = tuple(key for key in root.keys if overlap or key.id != before)
        revoked = () if overlap else (cast.signer(before).public(KeyRole.DECISION).public,)
        fleet.root = replace(
            root,
            version=root.version + 1,
            keys=(*kept, cast.signer(host.key).public(KeyRole.DECISION)),
            revoked=(*root.revoked, *revoked),
            issued_ms=fleet.timeline.now_ms,
        )
        fleet.tell(
            f"key document {fleet.root.version}: {host.name} gets key {host.key}, {before} {'stays' if overlap else 'is revoked'}"
        )
        fleet.broker.land(Sent("keys", str(fleet.root.version), seal(fleet.root, cast.signer("root"))), "operator")


class Judge:
    """Says every second what the placement under way is like."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._begun: dict[str, int] = {}
        self._said: list[bytes] = []

    def sit(self) -> None:
        """Judge, now and every second from now on."""
        self._fleet.later(JUDGED_EVERY_MS, self.sit)
        context, now_ms = self._fleet.context, self._fleet.timeline.now_ms
        if context is None or not context.placement or context.retreating:
            return
        begun_ms = self._begun.setdefault(context.placement, now_ms)
        if now_ms - begun_ms < JUDGED_AFTER_MS:
            return
        version = next(cohort.version for cohort in context.cohorts if cohort.name == "canary")
        fine = cast.kind_of(version) == "good"
        verdict = Verdict(
            subject=context.subject,
            service=context.service,
            epoch=context.epoch,
            generation=context.generation,
            rollout=context.rollout,
            placement=context.placement,
            stage=context.stage,
            outcome=Outcome.PASS if fine else Outcome.FAIL,
            reason=Reason.CLEAN if fine else Reason.GROSS_ERRORS,
            action=None if fine else Action.ROLLBACK,
            canary_requests=1_000,
            first_pane_ms=begun_ms,
            last_pane_ms=now_ms,
        )
        self._say(encode(verdict))

    def repeat(self, how: int) -> None:
        """Say once more what was said some time ago."""
        if self._said:
            self._fleet.tell("a verdict of before arrives once more")
            self._fleet.broker.land(Sent("verdicts", cast.SUBJECT, self._said[how % len(self._said)]), "judge")

    def _say(self, value: bytes) -> None:
        self._said.append(value)
        self._fleet.broker.land(Sent("verdicts", cast.SUBJECT, value), "judge")
