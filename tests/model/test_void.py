"""What a takeover makes void was not decided (E2, E3): the read model neither tells nor returns it, and no question has it as its
answer.
"""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.model import Model, flags, model, timeline
from tidegate.ports import Record
from tidegate.rollout.ledger import rebuild
from tidegate.wire.codec import decode, encode
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.documents import digest
from tidegate.wire.envelope import Trust
from tidegate.wire.reasons import Reason

SHOP = "svc/shop"


class Author:
    """One decision agent: what it has sent and what has not landed yet."""

    def __init__(self, epoch: int, log: list[bytes]) -> None:
        before = rebuild(enumerate(log))
        self.epoch, self.seq, self.prev = epoch, before.seq, before.head
        self.expected = len(log)
        """Where its next record lands if nobody else writes."""
        self.leads = True
        self.sends: deque[bytes] = deque()
        self.send(DecisionKind.TAKEOVER, cut=len(log))

    def send(self, kind: DecisionKind = DecisionKind.PAUSE, cut: int = -1) -> bytes:
        taken = kind is DecisionKind.TAKEOVER
        raw = encode(
            Decision(
                seq=self.seq,
                prev=self.prev,
                epoch=self.epoch,
                kind=kind,
                subject="" if taken else SHOP,
                generation=0,
                now_ms=0,
                reason=Reason.TAKEOVER if taken else Reason.ASKED,
                answers=f"{self.epoch}.{self.seq}",
                cut=cut,
            )
        )
        self.seq, self.prev = self.seq + 1, digest(raw)
        self.sends.append(raw)
        return raw

    def land(self, log: list[bytes], copies: int = 1) -> None:
        """One of its sends lands. Where that is not right behind the last one it stands by; the others land all the same."""
        if self.sends:
            self.leads &= len(log) == self.expected
            self.expected += 1
            log += [self.sends.popleft()] * copies


def history(acts: list[tuple[str, int]]) -> list[bytes]:
    """A log that authors made who stood still, lost their place, and did not know it."""
    log: list[bytes] = []
    authors = [Author(1, log)]
    for act, number in acts:
        author = authors[number % len(authors)]
        match act:
            case "claim":
                authors.append(Author(len(authors) + 1, log))
            case "write" if author.leads and not author.sends:
                for _ in range(1 + number % 3):
                    author.send()
            case "land":
                author.land(log)
            case "land twice":
                author.land(log, copies=2)
    return log


histories = st.lists(
    st.tuples(st.sampled_from(("claim", "write", "write", "land", "land", "land", "land", "land twice")), st.integers(0, 11)),
    min_size=20,
    max_size=60,
).map(history)


def counting(log: list[bytes]) -> list[int]:
    """The offsets of what the ledger of a whole log is made of, by its chain of hashes alone."""
    places = {digest(raw): offset for offset, raw in reversed([*enumerate(log)])}
    found, head = [], rebuild(enumerate(log)).head
    while head:
        found.append(places[head])
        head = decode(log[places[head]], Decision).prev
    return found[::-1]


def records(log: list[bytes], first: int = 0) -> list[Record]:
    return [Record("decisions", 0, offset, 1_000 + offset, None, raw, {}) for offset, raw in enumerate(log) if offset >= first]


def reader() -> Model:
    return Model(Trust("local", 1, {}))


def told(one: Model) -> list[int]:
    return [each.offset for each in one.told]


@given(histories, st.lists(st.integers(1, 5), min_size=1, max_size=60))
def test_what_is_told_is_what_the_ledger_of_the_whole_log_is_made_of_however_it_was_read(log, sizes):
    one, at, returned = reader(), 0, set[int]()
    while at < len(log):
        size = sizes[at % len(sizes)]
        before = set(told(one))
        news = [each.offset for each in one.see(records(log[: at + size], at))]
        at = min(len(log), at + size)
        counts = counting(log[:at])
        assert told(one) == counts
        assert one.ledger == rebuild(enumerate(log[:at]))
        assert news == [offset for offset in counts if offset not in before], "once, in order, and nothing that is void"
        returned |= {*news}
        answers = {decode(raw, Decision).answers: offset for offset, raw in reversed([*enumerate(log[:at])])}
        for name, offset in answers.items():
            answer = one.answer(name)
            assert (None if answer is None else answer.offset) == (offset if offset in counts else None)
    assert returned >= set(counting(log))


@given(histories)
def test_who_reads_all_at_once_and_who_reads_record_by_record_know_the_same(log):
    whole, bit_by_bit = reader(), reader()
    assert [each.offset for each in whole.see(records(log))] == counting(log)
    for record in records(log):
        bit_by_bit.see([record])
    assert list(whole.told) == list(bit_by_bit.told)


def test_what_is_told_has_the_time_at_which_it_was_appended():
    one = reader()
    one.see(records(lost_its_place()))
    assert [each.at_ms - 1_000 for each in one.told] == told(one)


def lost_its_place() -> list[bytes]:
    """Author 4 decides 2 and 3, which author 5 had not read when it took over as 2; then that 2 of author 4 lands once more."""
    log: list[bytes] = []
    old = Author(4, log)
    old.land(log)
    old.send()
    old.land(log)
    new = Author(5, log)
    old.send()
    old.send()
    for author in (old, old, new):
        author.land(log)
    return [*log, log[2]]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_takeover_does_not_vanish_behind_what_it_voids(at_once):
    log, one = lost_its_place(), reader()
    news = one.see(records(log)) if at_once else [each for record in records(log) for each in one.see([record])]
    assert [(each.decision.epoch, each.decision.seq) for each in one.told] == [(4, 0), (4, 1), (5, 2)]
    assert ({each.offset for each in news} >= {0, 1, 4}, 5 in {each.offset for each in news}) == (True, False)
    assert flags.by_number(one)[2].decision.kind is DecisionKind.TAKEOVER
    assert [each.seq for each in timeline.timeline(one)] == [2, 1, 0]
    assert (one.answer("4.2"), one.answer("4.3"), one.answer("5.2") is not None) == (None, None, True)


def test_what_was_forgotten_does_not_come_back_as_news(monkeypatch):
    monkeypatch.setattr(model, "TOLD_KEPT", 2)
    log, one = lost_its_place(), reader()
    one.see(records(log[:4]))
    assert told(one) == [2, 3]
    assert [each.offset for each in one.see(records(log[:5], 4))] == [4]
    assert told(one) == [1, 4]


def test_what_counts_again_since_the_takeover_that_voided_it_is_void_itself_is_told_again():
    log: list[bytes] = []
    first = Author(4, log)
    first.land(log)
    second = Author(5, log)
    first.send()
    first.land(log)
    third = Author(6, log)
    second.land(log)
    third.land(log)
    one, seen = reader(), []
    for record in records(log):
        one.see([record])
        seen.append(told(one))
    assert seen == [[0], [0, 1], [0, 2], [0, 1, 3]]
    again = reader()
    again.see(records(log[:3]))
    assert [each.offset for each in again.see(records(log, 3))] == [1, 3]
