"""What is published of flags, as a function of the ledger: the values on ``flags``, and the contexts of their ramps (G1, G3)."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from tidegate.flags.prerequisites import settled
from tidegate.flags.published import WEIGHT_ALL, pinned, ramped, share_of
from tidegate.rollout.ledger import Ledger
from tidegate.wire.codec import Malformed
from tidegate.wire.documents import Phase
from tidegate.wire.experiments import trial_of, trial_text
from tidegate.wire.exposures import EXPERIMENT, WATCHED
from tidegate.wire.flags import EVALUATORS, METADATA, State, TopicKey, bucketing_of, definition_of, evaluators_of, metadata_of
from tidegate.wire.flagspecs import FlagSpec, kill_variant, safe_variant
from tidegate.wire.flagstates import FlagState, Off, spec_digest
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.plans import ControlMode

TOLD_FOR_MS = 3_600_000
"""So long after a ramp ended the judge is told that there is nothing to judge."""


class FlagLevel(Struct, frozen=True):
    """What belongs under one key of ``flags``."""

    value: bytes | None
    """None: a tombstone."""
    revision: int
    """Number of the last record that it rests on: its own, or of a flag that it needs. Stands as generation in the stamp, so that
    a value that changes without a change of its flag is newer too (E1).
    """
    fault: str = ""
    """Why it says less than what was decided: everyone has the safe variant. Empty: it does not."""


class FlagLevels:
    """The levels of one ledger. ``known``: some of earlier, which are used where they rest on the same records."""

    def __init__(self, ledger: Ledger, known: Mapping[str, FlagLevel] | None = None) -> None:
        self._ledger = ledger
        self._known = known or {}
        self._revisions: dict[str, int] = {}
        self._levels: dict[str, FlagLevel] = {}

    def revision(self, subject: str) -> int:
        """Return the number of the last record that a level rests on; 0 where there is no such flag."""
        state = self._ledger.flags.get(subject)
        if state is None:
            shared = self._ledger.flag_sets.get(subject)
            return shared.seq if shared is not None else 0
        names = needs(state)
        if not names or state.pinned:
            return state.seq
        if subject not in self._revisions:
            key = state.key
            inner = [beside(key, name).subject for name in (*names, EVALUATORS, METADATA)]
            self._revisions[subject] = max(state.seq, *(self.revision(one) for one in inner))
        return self._revisions[subject]

    def level(self, subject: str) -> FlagLevel:
        """Return what belongs on the topic. KeyError where the ledger knows no such flag."""
        revision = self.revision(subject)
        known = self._levels.get(subject) or self._known.get(subject)
        if known is None or known.revision != revision:
            known = self._made(subject, revision)
        self._levels[subject] = known
        return known

    def _made(self, subject: str, revision: int) -> FlagLevel:
        state = self._ledger.flags.get(subject)
        if state is None:
            return FlagLevel(bytes(self._ledger.flag_sets[subject].value), revision)
        if state.removed:
            return FlagLevel(None, revision)
        try:
            return FlagLevel(value_of(state, self.around(state)), revision)
        except Malformed as fault:
            # It was sound when it was set; what it needs has changed since. Toward safe is always allowed (G2).
            return FlagLevel(_safe(spec_in_force(state)), revision, str(fault))

    def around(self, state: FlagState) -> "Around":
        """Return what a flag's value depends on beside its own state. Malformed where some of that is withheld: what the archive
        has of it may have been killed since.
        """
        key, names = state.key, needs(state)
        if not names or state.pinned:
            return Around()
        unknown = withheld_needs(self._ledger, state)
        if unknown:
            remedy = "flag restore" if unknown[0] in names else "set it anew"
            raise Malformed(
                "prerequisites", f"{unknown[0]} came from an archive and may be older than what holds: {remedy} first"
            )
        subjects = {name: beside(key, name).subject for name in names}
        live = {name: one for name, one in subjects.items() if one in self._ledger.flags and not self._ledger.flags[one].archived}
        published = {name: self.level(one).value for name, one in live.items()}
        return Around(
            published={name: value for name, value in published.items() if value is not None},
            evaluators=shared_value(self._ledger, key, EVALUATORS),
            metadata=shared_value(self._ledger, key, METADATA),
        )


class Around(Struct, frozen=True, kw_only=True):
    """Values that stand on the topic beside a flag's own."""

    published: Mapping[str, bytes] = {}
    """Of each flag that is needed, by its name."""
    evaluators: bytes = b"{}"
    metadata: bytes = b"{}"


def value_of(state: FlagState, around: Around) -> bytes:
    """Return the definition that belongs on the topic. Malformed where none can say what was decided."""
    spec, there = state.spec, spec_in_force(state)
    if state.archived:
        return pinned(bytes(there.definition), safe_variant(there), "archived")
    if state.killed:
        return pinned(bytes(there.definition), kill_variant(there), "killed")
    if state.off is not Off.NONE:
        return _safe(there)
    everyone = state.weight == WEIGHT_ALL and spec.layer is None
    value = _settled(spec, around) if everyone else _in_part(state, around)
    if state.placement:
        return _marked(value, {WATCHED: True})
    tried = had_by_everyone(state)
    if tried is None or tried.experiment is None:
        return value
    return _marked(value, {EXPERIMENT: trial_text(trial_of(tried.experiment, tried.decoded(), state.subject))})


def spec_in_force(state: FlagState) -> FlagSpec:
    """Return the spec by which a flag is pinned: one that waits to begin says nothing yet of one that is there (G2, H3)."""
    return state.before if state.phase is Phase.IDLE and state.before is not None else state.spec


def had_by_everyone(state: FlagState) -> FlagSpec | None:
    """Return the spec whose definition everyone has, so that its experiment runs. In the middle of a ramp a user's variant is not
    what an experiment deals: it would be counted, and then change.
    """
    if state.pinned or state.placement:
        return None
    if state.weight == WEIGHT_ALL and state.before is None:
        return state.spec
    # What waits to begin has changed nothing yet.
    return state.before if state.weight == 0 and state.before_weight == WEIGHT_ALL else None


def contexts_of(ledger: Ledger, state: FlagState) -> tuple[Context, ...]:
    """Return what the judge must know of a flag's ramp, once for each service of its guard (G3): every node serves the control's
    variants and the canary's. Without a placement there is nothing to judge any more.
    """
    return tuple(_context(ledger, state, service) for service in state.judged)


def judged_now(ledger: Ledger, now_ms: int) -> list[FlagState]:
    """Return the flags whose contexts the judge must hear: those under way, and those that ended lately, for whoever was to tell
    it may have died.
    """
    flags = ledger.flags.values()
    return [one for one in flags if one.judged and (one.placement or now_ms - one.decided_ms < TOLD_FOR_MS)]


def withheld(ledger: Ledger, subject: str) -> bool:
    """Return whether a level is not published: after a restore nobody knows what came later, a kill perhaps, so what is on the
    topic stays until a person has spoken of it and of all that it needs. What makes a flag safe is never withheld.
    """
    state = ledger.flags.get(subject)
    if state is None:
        shared = ledger.flag_sets.get(subject)
        return shared is not None and shared.asked_ms < ledger.restored_ms
    if state.pinned:
        return False
    return state.asked_ms < ledger.restored_ms or bool(withheld_needs(ledger, state))


def withheld_needs(ledger: Ledger, state: FlagState) -> list[str]:
    """Return the names of what a flag needs that is withheld."""
    key, names = state.key, needs(state) if ledger.restored_ms else ()
    return [one for one in (*names, EVALUATORS, METADATA) if withheld(ledger, beside(key, one).subject)] if names else []


def needs(state: FlagState) -> tuple[str, ...]:
    """Return the names of the flags that a flag's value needs."""
    if state.before is None and not state.spec.prerequisites:
        return ()  # nearly all of them
    both = (*state.spec.prerequisites, *(state.before.prerequisites if state.before is not None else ()))
    return tuple(dict.fromkeys(one.flag for one in both))


def beside(key: TopicKey, name: str) -> TopicKey:
    """Return the key of another record of the same set."""
    return TopicKey(key.set_id, name)


def shared_value(ledger: Ledger, key: TopicKey, name: str) -> bytes:
    """Return the ``$evaluators`` or ``$metadata`` of a flag's set."""
    shared = ledger.flag_sets.get(beside(key, name).subject)
    return bytes(shared.value) if shared is not None else b"{}"


def control_variant(state: FlagState) -> str:
    """Return what those outside of a share have, where that is one variant; otherwise the safe variant is compared with."""
    before = state.before
    if before is not None and not before.prerequisites and state.before_weight == WEIGHT_ALL and before.layer is None:
        definition = before.decoded()
        if not definition.targeting and definition.state is State.ENABLED and definition.default_variant:
            return definition.default_variant
    return safe_variant(state.spec)


def _in_part(state: FlagState, around: Around) -> bytes:
    """Return the definition by which some have what was set last, and the others what was before, or the safe variant."""
    spec, before, name = state.spec, state.before, state.key.name
    outside = _safe(before or spec)
    if before is not None:
        outside = ramped(_settled(before, around), outside, share_of(before, name, state.before_weight))
    return ramped(_settled(spec, around), outside, share_of(spec, name, state.weight))


def _safe(spec: FlagSpec) -> bytes:
    return pinned(bytes(spec.definition), safe_variant(spec), "safe")


def _settled(spec: FlagSpec, around: Around) -> bytes:
    if not spec.prerequisites:
        return bytes(spec.definition)
    return settled(spec, around.published, evaluators_of(around.evaluators), bucketing_of(metadata_of(around.metadata)))


def _marked(value: bytes, marks: dict[str, bool | str]) -> bytes:
    definition = definition_of(value)
    return replace(definition, metadata=definition.metadata | marks).encoded()


def _context(ledger: Ledger, state: FlagState, service: str) -> Context:
    bare = Context(subject=state.subject, service=service, epoch=ledger.epoch, generation=state.generation)
    if not state.placement or state.ramp is None:
        return bare
    control, name = control_variant(state), spec_digest(state.spec)
    others = tuple(sorted(one for one in state.spec.decoded().variants if one != control))
    before = spec_digest(state.before) if state.before is not None else "safe"
    return Context(
        subject=state.subject,
        service=service,
        epoch=ledger.epoch,
        generation=state.generation,
        placement=state.placement,
        rollout=state.rollout,
        attempt=state.attempt,
        stage=state.stage,
        last_stage=state.stage == len(state.ramp.stages) - 1,
        cohorts=(
            CohortMembers(name="canary", version=name, variants=others),
            CohortMembers(name="control", version=before, variants=(control,)),
        ),
        control=ControlMode.OBSERVE,
        guardrails=state.ramp.guardrails,
        default_guardrails=state.ramp.default_guardrails,
        min_requests=state.ramp.stages[state.stage].min_exposures,
        started_ms=state.started_ms,
    )
