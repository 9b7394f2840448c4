"""What an archive holds, verified before anything is written from it: its bytes, and the chain of its decisions (D2, E3)."""

from collections import Counter
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from tidegate.archive.export import BACK, TOPICS
from tidegate.archive.file import Block, Damaged, Head, Reader
from tidegate.ports import Record
from tidegate.rollout.ledger import BrokenChain, Ledger, apply, cuts_of, is_void
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed, decode, decode_strict, encode
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.documents import GLASS_PREFIX, Heartbeat, Phase
from tidegate.wire.envelope import open_envelope
from tidegate.wire.experiments import sums_of

HEARTBEAT = "heartbeat"
OVER = frozenset({Phase.IDLE, Phase.DONE})


class Checked(Struct, frozen=True, kw_only=True):
    """A whole archive."""

    path: Path
    head: Head
    sha256: str
    records: dict[str, int]
    """By topic."""
    ledger: Ledger
    inputs: dict[str, int]
    """Topic/partition to how many of the records that go back there the decisions had read: the ledger's own numbers are offsets
    of a log in which compaction had left holes.
    """
    resigned: bool
    """Whether the author had gone: nothing was decided after this archive."""

    @property
    def under_way(self) -> list[str]:
        """The subjects whose rollouts are not over."""
        return [subject for subject, state in sorted(self.ledger.subjects.items()) if state.phase not in OVER]


def check(path: Path, fleet: str, sha256: str = "") -> Checked:
    """Read an archive twice, from end to end, and return what it holds.

    Damaged where a byte is not as it was written, or the decisions do not follow from one another. Problem where it is another
    fleet's, or not the file whose digest is ``sha256``. In memory: one block, and the ledger.
    """
    reader = Reader(path)
    head = reader.head()
    if head.fleet != fleet:
        raise Problem(f"{path} is an archive of fleet {head.fleet}, not of {fleet}", "use the home of that fleet: --home", code=2)
    # First the bytes alone: nothing that was altered is looked at any closer.
    for _ in reader.blocks():
        pass
    if sha256 and sha256.lower() != reader.sha256:
        raise Damaged(f"{path} has the digest {reader.sha256}, not {sha256}", "use the file that this digest was printed for")
    cuts = _cuts(reader)
    counts, read, ledger, resigned = Counter[str](), Counter[str](), Ledger(), False
    for block in reader.blocks():
        counts[block.topic] += len(block.rows)
        at = f"{block.topic}/{block.partition}"
        for record in block.records():
            if block.topic == "decisions":
                ledger = _folded(ledger, record, cuts, path)
            elif goes_back(record):
                read[at] += record.offset < ledger.inputs.get(at, 0)
            elif record.key == HEARTBEAT:
                resigned = _resigned(record, ledger.epoch)
    return Checked(
        path=path,
        head=head,
        sha256=reader.sha256,
        records={topic: counts[topic] for topic in TOPICS},
        ledger=ledger,
        inputs={at: read[at] for at in sorted(ledger.inputs)},
        resigned=resigned,
    )


def goes_back(record: Record) -> bool:
    """Return whether a record is written back. Reports are not: nodes say them anew. Of ``desired`` only what people signed in an
    emergency is: all else there follows from the decisions, and is said anew, in a new epoch, by the agent that leads next. So
    nobody can act on half of it.
    """
    if record.topic != "desired":
        return record.topic in BACK
    return record.value is not None and (record.key or "").startswith(GLASS_PREFIX)


def as_it_goes_back(record: Record) -> Record:
    """Return a record as it is written back. Sums of experiments begin their offsets anew: those of the other cluster would
    outweigh whatever is counted here until its log is as long.
    """
    if record.topic != "experiments" or record.value is None:
        return record
    try:
        return record._replace(value=encode(replace(sums_of(record.value), offset=0)))
    except Malformed:
        return record


def _cuts(reader: Reader) -> list[tuple[int, int]]:
    takeovers: list[tuple[int, Decision]] = []
    expected = 0
    topics = list(TOPICS)
    for block in reader.blocks():
        _in_order(block, topics)
        if block.topic != "decisions":
            continue
        for row in block.rows:
            if row.offset != expected:
                raise Damaged(f"decisions has a hole before offset {row.offset}", "use an archive of a cluster that has them all")
            expected += 1
            decision = _decision(row.value, row.offset)
            if decision.kind is DecisionKind.TAKEOVER:
                takeovers.append((row.offset, decision))
    return cuts_of(takeovers)


def _in_order(block: Block, topics: list[str]) -> None:
    if block.topic not in topics:
        raise Damaged(f"{block.topic} is not where it belongs in the archive, or unknown here", "use the tidegate that wrote it")
    del topics[: topics.index(block.topic)]


def _decision(value: bytes | None, offset: int) -> Decision:
    try:
        return decode(value or b"", Decision)
    except Malformed as error:
        raise Damaged(
            f"decisions cannot be read at offset {offset}: {error}", "use the tidegate that wrote it, or another copy"
        ) from error


def _folded(ledger: Ledger, record: Record, cuts: list[tuple[int, int]], path: Path) -> Ledger:
    decision = _decision(record.value, record.offset)
    if is_void(record.offset, decision, cuts):
        return ledger
    try:
        return apply(ledger, decision, record.value or b"")
    except (BrokenChain, Malformed) as error:
        raise Damaged(
            f"{path}: the chain of decisions breaks at offset {record.offset}: {error}",
            "use another copy; nobody may lead on this",
        ) from error


def _resigned(record: Record, epoch: int) -> bool:
    """Return whether the author's last word was that it goes."""
    beat = beat_in(record)
    return beat is not None and beat.resigned and beat.epoch == epoch


def beat_in(record: Record) -> Heartbeat | None:
    """Return what a record under ``heartbeat`` says. Not verified: it only decides what a person is told or asked."""
    try:
        return decode_strict(open_envelope(record.value or b"", Heartbeat).payload, Heartbeat)
    except Malformed:
        return None
