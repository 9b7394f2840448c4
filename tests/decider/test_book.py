import pytest

from tidegate.decider.book import Book
from tidegate.ports import Record
from tidegate.rollout.ledger import rebuild
from tidegate.wire.codec import encode
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.documents import digest
from tidegate.wire.reasons import Reason
from tidegate.world import MemoryLog, SimClock


def made(after: list[bytes], epoch: int, cut: int = -1, answers: str = "") -> bytes:
    """Return a record that follows the given ones."""
    kind = DecisionKind.TAKEOVER if cut >= 0 else DecisionKind.REFUSE
    prev = digest(after[-1]) if after else ""
    return encode(
        Decision(
            seq=len(after),
            prev=prev,
            epoch=epoch,
            kind=kind,
            subject="",
            generation=0,
            now_ms=0,
            reason=Reason.TAKEOVER,
            answers=answers,
            cut=cut,
        )
    )


async def read(log: MemoryLog, *raws: bytes) -> Book:
    """Return a book that has followed the log record by record."""
    book = Book()
    for raw in raws:
        at = await log.append("decisions", None, raw)
        book.read(Record("decisions", 0, at.offset, 0, None, raw, {}))
        await book.mend(log)
    return book


@pytest.fixture
def log():
    return MemoryLog(SimClock())


FIRST = made([], 1, cut=0)
BY_1 = made([FIRST], 1, answers="a")
LATE_BY_1 = made([FIRST, BY_1], 1, answers="late")


async def test_what_an_older_author_writes_before_the_takeover_but_behind_its_cut_is_void(log):
    second = made([FIRST, BY_1], 2, cut=2)
    book = await read(log, FIRST, BY_1, LATE_BY_1, second, made([FIRST, BY_1, second], 2, answers="b"))
    assert set(book.ledger.answered) == {"a", "b"}
    assert not book.broken


async def test_a_takeover_that_lands_behind_a_later_one_voids_nothing(log):
    """Life 2 read up to offset 1, then stood still; life 3 counted what author 1 wrote there, and took over first."""
    third = made([FIRST, BY_1], 3, cut=2)
    book = await read(log, FIRST, BY_1, third, made([FIRST], 2, cut=1))
    assert set(book.ledger.answered) == {"a"}
    assert book.ledger == rebuild((record.offset, record.value) for record in log.topic("decisions"))


@pytest.mark.parametrize("damaged", [b"{}", made([], 1, cut=0, answers="altered"), LATE_BY_1])
async def test_a_record_that_is_altered_missing_or_swapped_breaks_the_chain_and_says_where(log, damaged):
    book = await read(log, FIRST, damaged, BY_1)
    assert book.broken
    if damaged != b"{}":
        assert book.broken.startswith("offset ")


async def test_a_record_that_this_process_wrote_is_not_folded_again_when_it_is_read_back(log):
    book = await read(log, FIRST)
    decision = made([FIRST], 1, answers="a")
    at = await log.append("decisions", None, decision)
    from_log = log.topic("decisions")[-1]
    assert at.offset == book.next_offset
    book.read(from_log)
    before = book.ledger
    book.read(from_log)
    assert book.ledger is before
