"""What the world says and what people ask, as read: the view, and what waits for an answer (D1, D3)."""

from collections import deque
from collections.abc import Mapping

import structlog

from tidegate.decider.intake import view_event
from tidegate.decider.kept import Kept
from tidegate.ports import Record
from tidegate.rollout.events import AlarmForgotten, Event, NodesEnrolled, ReportArrived
from tidegate.rollout.view import UNREACHABLE_MS, View, see
from tidegate.wire.envelope import Trust

AGAIN_MS = UNREACHABLE_MS // 2
"""A report after a longer silence is news whatever it says: its node may have counted as unreachable (B5)."""
FAULTY_KEPT = 1_000
"""So many records that do not count wait for their dead letter; older ones are only counted."""

QUESTIONS_KEPT = 1_000
"""So many of the last questions are kept after their answer: a takeover may void it (E3), and then they are asked again."""

log = structlog.get_logger("tidegate.decide")


class Inbox:
    """Trust, view and open questions. Nothing here decides; standby and author read alike."""

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self.kept = Kept()
        self.view = View(fleet=trust.fleet)
        self.asked: deque[Record] = deque()
        """Plans, policies and intents that no record of the ledger answers yet, in order. As many as the log holds."""
        self.inputs: dict[str, int] = {}
        """Topic/partition to the next offset that has not been taken into account."""
        self.faulty: deque[tuple[Record, str]] = deque(maxlen=FAULTY_KEPT)
        """Records that do not count, and why."""
        self.news = False
        """Whether anything in the view has changed that a rule may look at; whoever looks takes it back."""
        self._trust_told = trust
        self._enrolled = trust.nodes()
        self._read: deque[Record] = deque(maxlen=QUESTIONS_KEPT)
        self._answered: dict[str, int] = {}
        """Topic/partition of questions to the offset up to which they were answered, as far as this process knew."""

    def take_key(self, record: Record) -> None:
        """Take a record of ``keys``. Raises Malformed or Refused where it does not count."""
        self.inputs[place(record)] = record.offset + 1
        self.trust = self.kept.trust_after(self.trust, record)

    def keys_taken(self) -> None:
        """Tell the view who is enrolled, once after many records: each telling costs as much as there are nodes."""
        if self.trust is self._trust_told:
            return
        self._trust_told, enrolled = self.trust, self.trust.nodes()
        if enrolled != self._enrolled:
            self._enrolled = enrolled
            self.see(NodesEnrolled(enrolled))

    def take_news(self, record: Record) -> None:
        """Take what the judge, a node or an alarm says. Raises Malformed or Refused where it does not count."""
        self.inputs[place(record)] = record.offset + 1
        self.see(view_event(record, self.trust))

    def take_question(self, record: Record, answered: Mapping[str, int]) -> None:
        """Take a plan, a policy or an intent, unless it was answered before."""
        if record.value is None:
            return
        self._read.append(record)
        self._answered.setdefault(place(record), 0)
        if record.offset >= answered.get(place(record), 0):
            self.asked.append(record)

    def forget(self, answered: Mapping[str, int]) -> None:
        """Drop what has been answered, by whomever; ask again what was answered by a record that a takeover has made void."""
        for at, known in self._answered.items():
            now = self._answered[at] = answered.get(at, 0)
            if now < known:
                self.inputs.pop(at, None)
                again = [one for one in self._read if place(one) == at and now <= one.offset < known and one not in self.asked]
                self.asked.extendleft(reversed(again))
        if any(place(one) in answered for one in self.asked):
            self.asked = deque(one for one in self.asked if one.offset >= answered.get(place(one), 0))

    def answered(self, record: Record) -> None:
        """Note that a question needs no further answer. Its answer may matter to other subjects."""
        self.news = True
        self.inputs[place(record)] = self._answered[place(record)] = record.offset + 1
        if self.asked and self.asked[0] is record:
            self.asked.popleft()

    def fault(self, record: Record, cause: str, *, kept: bool) -> None:
        """Note a record that does not count, and keep it for its dead letter where that is this process's to write."""
        log.warning("a record does not count", topic=record.topic, key=record.key, offset=record.offset, cause=cause)
        if kept:
            self.faulty.append((record, cause))

    def see(self, event: Event) -> None:
        """Fold an event into the view."""
        nothing_new = isinstance(event, AlarmForgotten) or (isinstance(event, ReportArrived) and self._known(event))
        self.news |= not nothing_new
        self.view = see(self.view, event)

    def _known(self, event: ReportArrived) -> bool:
        """Return whether a report only says again, in good time, what its node said before."""
        before, now = self.view.reports.get(event.report.node), event.report
        if before is None or event.seen_ms - before.seen_ms > AGAIN_MS:
            return False
        last = before.report
        return (last.boot, last.services, last.zone, last.frozen) == (now.boot, now.services, now.zone, now.frozen)


def place(record: Record) -> str:
    """Return the name under which a record's partition stands in a decision's inputs."""
    return f"{record.topic}/{record.partition}"
