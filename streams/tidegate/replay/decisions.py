"""Decisions derived again from what was read for them, and compared byte for byte (D2).

The chain of hashes shows what was changed, dropped or swapped in the middle. Deriving the records again shows it at the end too,
and that none was written which does not follow from its inputs.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from tidegate.rollout.events import Event, Tick
from tidegate.rollout.flag_levels import FlagLevels, withheld
from tidegate.rollout.ledger import BrokenChain, Entry, Ledger, apply, counting
from tidegate.rollout.levels import desired_of
from tidegate.rollout.step import step
from tidegate.rollout.view import View, see
from tidegate.wire.codec import Malformed, encode
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Desired, Order

FOUND_MAX = 20
"""So many differences are told; the rest only counted."""


class Inputs(Protocol):
    """What was read, as it was read: signatures are checked where it is decoded."""

    def news(self, decided: Mapping[str, int], now_ms: int) -> Iterable[Event]:
        """Return what the world said before a decision, and was not returned before."""
        ...

    def asked(self, before: Mapping[str, int], decided: Mapping[str, int], ledger: Ledger) -> Iterable[Event]:
        """Return the questions that a decision may answer."""
        ...

    def later(self, decided: Mapping[str, int], ledger: Ledger) -> Iterable[Event]:
        """Return the questions that came after those that decisions cover."""
        ...

    @property
    def whole(self) -> bool:
        """Whether everything that ``news`` had to return was still there."""
        ...


class Found(Struct, frozen=True):
    """One record that is not what follows from its inputs, or one that is missing."""

    offset: int
    problem: str


class Replayed(Struct, frozen=True, kw_only=True):
    """What came of a replay. All is well where ``found`` is empty."""

    records: int = 0
    """Records that count."""
    void: int = 0
    """Records of authors who had lost their place (E2): nothing rests on them."""
    derived: int = 0
    """Derived again, equal to the byte."""
    takeovers: int = 0
    """Facts: who leads is not derived."""
    unchecked: int = 0
    """Their inputs are no longer kept: only the chain speaks for them."""
    different: int = 0
    found: tuple[Found, ...] = ()


class Said(Struct, frozen=True):
    """The newest value of a flag that a decision key stands for."""

    order: Order
    value: bytes | None


def replay(
    records: Iterable[tuple[int, bytes]],
    inputs: Inputs,
    fleet: str,
    levels: Mapping[str, Desired],
    flags: Mapping[str, Said] = MappingProxyType({}),
) -> Replayed:
    """Return what deriving a whole log of decisions, given as (offset, bytes), comes to. ``levels`` and ``flags``: the newest
    command, and the newest value, of each subject, which tell when records are missing at the end. Total.
    """
    raws = list(records)
    try:
        entries = counting(raws)
    except Malformed as error:
        return Replayed(records=len(raws), different=1, found=(Found(_unreadable(raws), f"cannot be read: {error}"),))
    void = len(raws) - len(entries)
    broken = _broken(entries)
    if broken is not None:
        return Replayed(records=len(entries), void=void, different=1, found=(broken,))
    done, ledger, view = _fold(entries, inputs, View(fleet=fleet))
    missing = [] if done.found else [*_cut(ledger, levels, fleet), *_flags_cut(ledger, flags), *_open(inputs, ledger, view)]
    end = entries[-1].offset + 1 if entries else 0
    found = (*done.found, *(Found(end, problem) for problem in missing))
    return replace(done, void=void, found=found[:FOUND_MAX])


def _broken(entries: list[Entry]) -> Found | None:
    """Return where the chain of hashes breaks."""
    ledger = Ledger()
    for one in entries:
        try:
            ledger = apply(ledger, one.decision, one.raw)
        except (BrokenChain, Malformed) as error:
            return Found(one.offset, str(error))
    return None


def _fold(entries: list[Entry], inputs: Inputs, view: View) -> tuple[Replayed, Ledger, View]:
    ledger, done, at = Ledger(), Replayed(records=len(entries)), 0
    moved = _moved(entries)
    while at < len(entries):
        entry = entries[at]
        if at < moved:
            taken = entry.decision.kind is DecisionKind.TAKEOVER
            done = replace(done, takeovers=done.takeovers + taken, unchecked=done.unchecked + (not taken))
            ledger, at = apply(ledger, entry.decision, entry.raw), at + 1
            continue
        for event in inputs.news(entry.decision.inputs, entry.decision.now_ms):
            view = see(view, event)
        if entry.decision.kind is DecisionKind.TAKEOVER:
            equal, done = 1, replace(done, takeovers=done.takeovers + 1)
        else:
            # An author never forgets what it has read.
            forgot = any(entry.decision.inputs.get(place, 0) < end for place, end in ledger.inputs.items())
            equal = 0 if forgot else _equal(ledger, view, entries[at:], inputs)
            done = _counted(done, entry, equal, whole=inputs.whole)
        for one in entries[at : at + max(1, equal)]:
            ledger = apply(ledger, one.decision, one.raw)
        at += max(1, equal)
    return done, ledger, view


def _moved(entries: list[Entry]) -> int:
    """Return the index of the last takeover of a restored log; 0: there is none.

    Only there an input falls: from then on offsets are those of another cluster, and what records before it had read is not to be
    found by their numbers.
    """
    moved, inputs = 0, dict[str, int]()
    for index, entry in enumerate(entries):
        if entry.decision.kind is DecisionKind.TAKEOVER and any(
            end < inputs.get(at, 0) for at, end in entry.decision.inputs.items()
        ):
            moved = index
        inputs |= entry.decision.inputs
    return moved


def _equal(ledger: Ledger, view: View, entries: list[Entry], inputs: Inputs) -> int:
    """Return how many of the records, from the first on, are what one step makes of their inputs.

    An author that lost its place in the middle of a step leaves the beginning of it: a takeover, or the end, follows.
    """
    first = entries[0].decision
    for event in (*inputs.asked(ledger.inputs, first.inputs, ledger), Tick()):
        made = [encode(decision) for decision in step(ledger, view, event, first.now_ms, first.inputs)]
        equal = 0
        while equal < min(len(made), len(entries)) and made[equal] == entries[equal].raw:
            equal += 1
        ends = equal == len(entries) or entries[equal].decision.kind is DecisionKind.TAKEOVER
        if equal and (equal == len(made) or ends):
            return equal
    return 0


def _counted(done: Replayed, entry: Entry, equal: int, *, whole: bool) -> Replayed:
    if equal:
        return replace(done, derived=done.derived + equal)
    if not whole:
        return replace(done, unchecked=done.unchecked + 1)
    decision = entry.decision
    problem = f"record {decision.seq} ({decision.kind}, {decision.reason}) is not what follows from its inputs"
    found = (*done.found, Found(entry.offset, problem))[:FOUND_MAX]
    return replace(done, different=done.different + 1, found=found)


def _cut(ledger: Ledger, levels: Mapping[str, Desired], fleet: str) -> list[str]:
    """Return what commands say that the ledger does not know, or knows otherwise."""
    found = []
    for subject, level in sorted(levels.items()):
        here = desired_of(ledger, subject, level.root_version, fleet)
        if (level.epoch, level.generation) > (here.epoch, here.generation):
            found.append(f"{subject} was commanded at generation {level.generation} of epoch {level.epoch}: records are missing")
        elif (level.epoch, level.generation) == (here.epoch, here.generation) and level != here:
            found.append(f"{subject}: the command of generation {level.generation} is not what these decisions give")
    return found


def _flags_cut(ledger: Ledger, flags: Mapping[str, Said]) -> list[str]:
    """Return what was published of flags that the ledger does not know, or knows otherwise."""
    found, levels = [], FlagLevels(ledger)
    for subject, said in sorted(flags.items()):
        known = subject in ledger.flags or subject in ledger.flag_sets
        there, here = (said.order.epoch, said.order.generation), (ledger.epoch, levels.revision(subject))
        if there > here:
            found.append(f"{subject} was published at record {said.order.generation} of epoch {there[0]}: records are missing")
        elif there == here and known and not withheld(ledger, subject) and levels.level(subject).value != said.value:
            found.append(f"{subject}: the value of record {said.order.generation} is not what these decisions give")
    return found


def _open(inputs: Inputs, ledger: Ledger, view: View) -> list[str]:
    """Return that questions wait for an answer. One that is sent again has its answer, and gets no other."""
    open_ = sum(bool(step(ledger, view, event, ledger.now_ms, {})) for event in inputs.later(ledger.inputs, ledger))
    return [f"{open_} plans, policies or intents have no answer: records are missing, or nobody decides"] if open_ else []


def _unreadable(raws: list[tuple[int, bytes]]) -> int:
    for offset, raw in raws:
        try:
            counting([(offset, raw)])
        except Malformed:
            return offset
    return -1
