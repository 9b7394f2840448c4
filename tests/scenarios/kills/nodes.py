"""One node as its programs' own records show it, held against what the authors asked of it."""

from collections.abc import Iterator

from msgspec import Struct
from tests.scenarios.kills.authors import Authors, Said, text
from tests.scenarios.kills.evidence import Evidence, Run

from tidegate.wire.documents import Desired, Move, Order
from tidegate.wire.plans import Artifact

NEWS_MS = 4_000
"""An undisturbed node that goes forward has read everything that is so old: it reads to the end right before, and a program is
not slower than that to say that it runs.
"""


class Owed(Struct, frozen=True):
    """What a document asks of a node."""

    version: str
    sha256: str
    token: str


class News(Struct, frozen=True):
    """What authors and operators have said: commands in order, and every artifact of a plan."""

    authors: Authors
    planned: frozenset[tuple[str, str]]

    def at(self, order: Order | None) -> Said | None:
        """Return the document of an order."""
        return next((one for one in self.authors.said if one.document.order == order), None)

    def owed(self, document: Desired, node: str) -> Owed | None:
        """Return what a document asks of a node, read as the protocol says it; None: nothing."""
        plan, roster = self.authors.plans.get(document.plan_digest), self.authors.rosters.get(document.roster_digest)
        if plan is None or roster is None:
            return _owed(document.settled)
        if node not in roster.nodes:
            return _owed(document.newcomers or document.settled)
        at = roster.nodes.index(node)
        for cohort in document.cohorts:
            if cohort.first <= at < cohort.first + cohort.count:
                named = [plan.artifact, *([plan.rollback.artifact] if plan.rollback is not None else [])]
                return _owed(next((one for one in named if one.version == cohort.version), None), cohort.token)
        return _owed(document.settled)


class Demand(Struct, frozen=True):
    """One thing asked of a node by documents that follow one another, and when the first of them was read."""

    owed: Owed | None
    first: Said
    last: Said


class Applied(Struct, frozen=True):
    """A start that counted: its program's lines, and the order that the node followed; None: no author's."""

    start: Run
    serve: Run
    order: Order | None = None


class Node:
    """See the module."""

    def __init__(self, name: str, evidence: Evidence, news: News) -> None:
        self._name = name
        self._evidence = evidence
        self._news = news
        self._runs = sorted((run for run in evidence.runs if run.node == name), key=lambda run: run.at_ms)
        self._starts = {run.process: run for run in self._runs if run.what == "start"}
        self._ends = {run.process: run.at_ms for run in self._runs if run.what == "end"}
        self._wrong: list[tuple[str, str]] = []
        self.applied = [one for run in self._runs if run.what == "serve" and (one := self._applied(run)) is not None]
        self.unfinished = len(self._starts) - len(self.applied)
        self.committed = self.called_back = 0
        self.applied_after_ms: list[int] = []
        self._orders()
        self._demands()
        self._marks()
        self._copies()

    def findings(self) -> Iterator[tuple[str, str]]:
        """Yield what must not be, as (kind, sentence)."""
        yield from ((kind, f"{self._name}: {sentence}") for kind, sentence in self._wrong)

    def _say(self, kind: str, sentence: str) -> None:
        self._wrong.append((kind, sentence))

    # each start

    def _applied(self, serve: Run) -> Applied | None:
        start = self._starts.get(serve.process)
        if start is None:
            self._say("contradicting", f"{serve.version} counts and has never said that it begins")
            return None
        if (start.version, start.sha256) not in self._news.planned:
            self._say("contradicting", f"{start.version} ({start.sha256[:12]}) runs, and no plan names it (I4)")
        begun = start.slots[-1].begun if start.slots else None
        if begun != (start.version, start.token):
            self._say("contradicting", f"{start.version} was started, and the node's disk says that {begun} was begun (I11)")
        for slot in reversed(start.slots):
            said = self._news.at(slot.order)
            if said is None:
                self._say("contradicting", f"{start.version} was started under {text(slot.order)}, which no author has said (I6)")
                return Applied(start, serve)
            if self._news.owed(said.document, self._name) == Owed(start.version, start.sha256, start.token):
                return Applied(start, serve, said.document.order)
        self._say(
            "contradicting", f"{start.version} (token {start.token!r}) was started, and the order followed asks for no such"
        )
        return Applied(start, serve)

    def _orders(self) -> None:
        before = Order()
        for one in self.applied:
            if one.order is None:
                continue
            if one.order < before:
                self._say("contradicting", f"{one.start.version} of {text(one.order)} was started after {text(before)} (I1)")
            before = max(before, one.order)
            late = next(
                (said for said in self._news.authors.said if said.document.order > one.order and self._too_late(one, said)), None
            )
            if late is not None:
                late_ms = one.start.at_ms - late.at_ms
                self._say("contradicting", f"{one.start.version} was started {late_ms} ms after {text(late.document.order)} (I2)")

    def _too_late(self, one: Applied, said: Said) -> bool:
        """Return whether a start began long after a document that called it back, and nothing kept the node from reading that."""
        early = one.start.at_ms - said.at_ms <= NEWS_MS
        return not early and self._called_back(one, said) and not self._disturbed(said.at_ms - NEWS_MS, one.start.at_ms)

    def _called_back(self, one: Applied, said: Said) -> bool:
        owed = self._news.owed(said.document, self._name)
        return owed is not None and (owed.version, owed.sha256) != (one.start.version, one.start.sha256)

    def _disturbed(self, since_ms: int, until_ms: int) -> bool:
        """Return whether anything befell this node, its way, or the broker in a time."""
        mine = (self._name, "broker")
        return any(deed.who in mine and deed.at_ms <= until_ms and deed.until_ms >= since_ms for deed in self._evidence.story)

    # each demand

    def _demands(self) -> None:
        running: tuple[str, str] | None = None
        token = ""
        demands = list(self._collapsed())
        for at, demand in enumerate(demands):
            owed = demand.owed
            if owed is None:
                continue
            first, last = demand.first.document.order, demand.last.document.order
            found = [one for one in self.applied if one.order is not None and first <= one.order <= last]
            due = running != (owed.version, owed.sha256) or bool(owed.token and owed.token != token)
            self.committed += due
            if len(found) > due:
                self._say("doubled", f"{owed.version} of {text(first)} was started {len(found)} times, {int(due)} are owed (B3)")
            if found:
                running, token = (owed.version, owed.sha256), owed.token or token
                if due:
                    self._time(demand, found[0])
            elif due:
                self._not_applied(demand, demands[at + 1] if at + 1 < len(demands) else None)

    def _not_applied(self, demand: Demand, after: Demand | None) -> None:
        if after is not None and after.first.document.move is Move.RETREAT:
            self.called_back += 1
            return
        version = demand.owed.version if demand.owed is not None else ""
        self._say("lost", f"{version} of {text(demand.first.document.order)} was committed and never started")

    def _time(self, demand: Demand, one: Applied) -> None:
        if not self._disturbed(demand.first.at_ms - NEWS_MS, one.serve.at_ms):
            self.applied_after_ms.append(max(0, one.serve.at_ms - demand.first.at_ms))

    def _collapsed(self) -> Iterator[Demand]:
        pending: Demand | None = None
        for said in self._news.authors.said:
            owed = self._news.owed(said.document, self._name)
            if pending is not None and pending.owed == owed:
                pending = Demand(owed, pending.first, said)
                continue
            if pending is not None:
                yield pending
            pending = Demand(owed, said, said)
        if pending is not None:
            yield pending

    # what runs

    def _marks(self) -> None:
        """Where all was healed and had time, the node runs what was desired last."""
        for mark in (deed for deed in self._evidence.story if deed.what == "ROUND"):
            said = [one for one in self._news.authors.said if one.at_ms <= mark.until_ms]
            owed = self._news.owed(said[-1].document, self._name) if said else None
            last = [one for one in self.applied if one.serve.at_ms <= mark.until_ms]
            runs = last[-1].start if last else None
            if owed is None:
                continue
            if runs is None or (runs.version, runs.sha256) != (owed.version, owed.sha256):
                self._say("lost", f"after {mark.who} it runs {runs.version if runs else 'nothing'} and owes {owed.version}")
            elif self._ends.get(runs.process, mark.until_ms + 1) <= mark.until_ms:
                self._say("lost", f"after {mark.who} nothing runs: {runs.version} has ended")

    def _copies(self) -> None:
        alive = [run for process, run in self._starts.items() if process in self._evidence.alive]
        if len(alive) > 1:
            self._say("doubled", f"{len(alive)} copies run at the end: {', '.join(run.version for run in alive)}")
        if self.applied and self.applied[-1].start.process not in self._evidence.alive:
            self._say("lost", f"{self.applied[-1].start.version} does not run at the end")


def nodes_of(evidence: Evidence, news: News) -> Iterator[Node]:
    """Yield every node that a roster names or that has written."""
    names = {run.node for run in evidence.runs} | {node for one in news.authors.rosters.values() for node in one.nodes}
    for name in sorted(names):
        yield Node(name, evidence, news)


def _owed(artifact: Artifact | None, token: str = "") -> Owed | None:
    return Owed(artifact.version, artifact.sha256, token) if artifact is not None else None
