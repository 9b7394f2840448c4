"""One piece of the proof: an episode of a known service, judged by Tidegate and by its rivals on the same seconds.

From where its rollout begins, and again 730 s later, copies go on under a fault each: so what comes before is paid for once.
"""

import copy
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from tests.bench.rivals.argo import Argo
from tests.bench.rivals.iid import IidSequential
from tests.bench.rivals.kayenta import Kayenta
from tests.bench.rivals.sides import Rival, sides_of

from tidegate.detect.drift.learned import Learned
from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge, learn
from tidegate.kpi.clock import GRACE_MS
from tidegate.sim import WORLDS, Block, Episode, Fault, FaultKind, Past, Run, Second
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.plans import Action

ROOT = Path(__file__).parents[3]
MID_S = 730
HORIZON_S = 1_800
PIPELINE_S = GRACE_MS / 1_000 + 0.2
"""From the end of a pane to its verdict on the topic: grace, intake's flush and the ways between."""
FAULTS = (
    Fault(FaultKind.ERRORS, 0.01),
    Fault(FaultKind.ERRORS, 0.05),
    Fault(FaultKind.LATENCY, 0.5),
    Fault(FaultKind.ERRORS, 0.01, onset_s=MID_S),
    Fault(FaultKind.ERRORS, 0.05, onset_s=MID_S),
    Fault(FaultKind.LATENCY, 0.5, onset_s=MID_S),
)
DOUBLED = Fault(FaultKind.ERRORS, 0.002)
"""What a licence must not be given to."""
RECORD_ROLLOUTS = 4
"""Of 20 servers each: about what it takes to know the restarts of a service (80 servers)."""
RECORD_SEED = 77
DRIFT = "drift"
RIVALS: dict[str, type[Rival]] = {"argo_style": Argo, "kayenta_style": Kayenta, "iid_sequential": IidSequential}
SOURCES = ("streams/tidegate/sim/*.py", "streams/tidegate/detect/**/*.py", "streams/tidegate/kpi/*.py", "tests/bench/rivals/*.py")


class Piece(Struct, frozen=True, kw_only=True):
    """What is played. ``seed`` and the rest fix every number of it."""

    world: str
    canaries: int
    seed: int
    hours: float = 1.0
    new: bool = False
    """Whether the service was never rolled out before: all that is learned of restarts stands at its prior."""
    delays: bool = False
    licence: bool = False
    """Whether a doubled error rate is played too."""
    rivals: bool = True


def sources_digest() -> str:
    """Return a digest of the code that decides what a piece gives: pieces of other code are not taken up again."""
    found = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


def edges_of(state: SubjectJudgement) -> tuple[int, ...]:
    """Return the slots above which the judge wants requests of the rest counted."""
    drift = getattr(state, "drift", None)
    return () if drift is None else tuple(drift.past.edges)


class Fired(Struct):
    """What a judge or rival has said of one run."""

    rollback_ms: int = 0
    """End of the pane; 0: none."""
    pause_ms: int = 0
    certified_ms: int = 0
    reason: str = ""
    sentence: str = ""
    paused_for: str = ""


class Judge:
    """Tidegate's judge, limits and evidence together, as the fold calls it at each pane close."""

    def __init__(self, learned: Learned) -> None:
        state = SubjectJudgement()
        self.state = replace(state, drift=replace(state.drift, learned=learned))
        self.fired = Fired()

    def take(self, second: Second) -> Verdict | None:
        """Judge or learn one second; return the verdict of a rollout's."""
        pane = second.pane(edges_of(self.state))
        if not second.context.placement:
            self.state = learn(self.state, pane)
            return None
        self.state, verdict = judge(self.state, second.context, pane, second.clock_ms)
        fired = self.fired
        if verdict.certified and not fired.certified_ms:
            fired.certified_ms = pane.end_ms
        if verdict.outcome is Outcome.FAIL and verdict.action is Action.ROLLBACK and not fired.rollback_ms:
            fired.rollback_ms, fired.reason, fired.sentence = pane.end_ms, str(verdict.reason), verdict.sentence
        if verdict.outcome is Outcome.FAIL and verdict.action is Action.PAUSE and not fired.pause_ms:
            fired.pause_ms, fired.paused_for = pane.end_ms, f"{verdict.reason}: {verdict.sentence}"
        return verdict


class Bench:
    """A run with everyone who judges it."""

    def __init__(self, run: Run, *, rivals: bool, learned: Learned) -> None:
        self.run = run
        self.judge = Judge(learned)
        self.rivals: dict[str, Rival] = {name: make() for name, make in RIVALS.items()} if rivals else {}
        self.fired = {name: Fired() for name in self.rivals} | {DRIFT: self.judge.fired}

    def prelude(self) -> None:
        """Play what comes before the rollout."""
        history = np.zeros(160, dtype=np.int64)
        for cast, block in self.run.prelude_blocks():
            history += block.sums(np.arange(len(block.names)))[2].sum(axis=0) if not cast.rollout else 0
            for second in self.run.seconds(cast, block):
                self.judge.take(second)
        for rival in self.rivals.values():
            rival.learn(history)

    def play(self, seconds: int, *, until_licence: bool = False) -> None:
        """Play seconds of the rollout; everyone until it rolls back."""
        for block in self.run.blocks(seconds):
            waiting = self._rivals(block)
            fired = self.judge.fired
            if not fired.rollback_ms:
                for second in self.run.seconds(self.run.cast, block):
                    self.judge.take(second)
                    if fired.rollback_ms or (until_licence and fired.certified_ms):
                        break
            over = fired.rollback_ms or (until_licence and fired.certified_ms)
            if over and not waiting:
                return

    def _rivals(self, block: Block) -> bool:
        waiting = [name for name in self.rivals if not self.fired[name].rollback_ms]
        sides = sides_of(block) if waiting else None
        for name in waiting:
            end = self.rivals[name].look(sides)
            if end is not None:
                self.fired[name].rollback_ms = block.start_ms + 1_000 * end
        return any(not self.fired[name].rollback_ms for name in self.rivals)

    def fork(self, fault: Fault) -> "Bench":
        """Return a copy that goes on under a fault."""
        other = copy.copy(self)
        other.run = self.run.fork(fault)
        other.judge, other.rivals, other.fired = copy.deepcopy((self.judge, self.rivals, self.fired))
        other.fired[DRIFT] = other.judge.fired
        return other


def record(world: str) -> Learned:
    """Return what the judge has learned of a service of that world from rollouts on other servers than any piece has."""
    learned = Learned()
    past = Past(nodes=20)
    for number in range(RECORD_ROLLOUTS):
        episode = Episode(world=WORLDS[world], history_s=60, past=past)
        bench = Bench(Run(episode, np.random.default_rng([RECORD_SEED, number])), rivals=False, learned=learned)
        bench.prelude()
        learned = bench.judge.state.drift.learned
    return learned


def begin(piece: Piece, learned: Learned) -> Bench:
    """Return a piece that stands right before its rollout. ``learned``: what the judge knows of restarts of the service."""
    episode = Episode(world=WORLDS[piece.world], canaries=piece.canaries, hours=piece.hours, past=None)
    run = Run(episode, np.random.default_rng([piece.seed, piece.canaries]))
    bench = Bench(run, rivals=piece.rivals, learned=learned)
    bench.prelude()
    return bench


def play(piece: Piece, learned: Learned) -> dict[str, Any]:
    """Return what a piece gave: plain data. ``learned``: as in ``begin``."""
    bench = begin(piece, learned)
    delays: list[dict[str, Any]] = []
    doubled = None
    if piece.delays:
        delays += [_delay(bench, fault) for fault in FAULTS if fault.onset_s is None]
    if piece.licence:
        other = bench.fork(DOUBLED)
        other.rivals = {}
        other.play(HORIZON_S, until_licence=True)
        doubled = bool(other.judge.fired.certified_ms)
    began_ms = bench.run.began_ms
    bench.play(MID_S)
    if piece.delays:
        delays += [_delay(bench, fault) for fault in FAULTS if fault.onset_s is not None]
    bench.play(round(3_600 * piece.hours) - MID_S)
    healthy = {name: _healthy(fired, began_ms, piece.hours) for name, fired in bench.fired.items()}
    return {"healthy": healthy, "delays": delays, "doubled_certified": doubled}


def _healthy(fired: Fired, began_ms: int, hours: float) -> dict[str, Any]:
    def since(time_ms: int) -> float | None:
        return (time_ms - began_ms) / 1_000 if time_ms else None

    rollback_s = since(fired.rollback_ms)
    return {
        "hours": hours if rollback_s is None else rollback_s / 3_600,
        "rollback_s": rollback_s,
        "reason": fired.reason,
        "sentence": fired.sentence,
        "pause_s": since(fired.pause_ms),
        "paused_for": fired.paused_for,
        "certified_s": since(fired.certified_ms),
    }


def _delay(bench: Bench, fault: Fault) -> dict[str, Any]:
    """Play a fault to its rollback by everyone. Who rolled back before its onset is left out."""
    other = bench.fork(fault)
    other.play(HORIZON_S)
    onset_ms = other.run.onset_ms or 0
    seconds: dict[str, float | str | None] = {}
    for name, fired in other.fired.items():
        if fired.rollback_ms and fired.rollback_ms <= onset_ms:
            seconds[name] = "before"
        else:
            seconds[name] = (fired.rollback_ms - onset_ms) / 1_000 + PIPELINE_S if fired.rollback_ms else None
    return {
        "fault": str(fault.kind),
        "size": fault.size,
        "from": "restart" if fault.onset_s is None else "mid",
        "seconds": seconds,
        "reason": other.judge.fired.reason,
    }
