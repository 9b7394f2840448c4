"""What stands open, and what of it is to be told (I2): the alarms, the silences, and whether the decision agent is alive."""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from tidegate.alarms.inhibition import inhibiting
from tidegate.alarms.silences import silencing
from tidegate.wire.decisions import Silence
from tidegate.wire.judgement import Alarm, AlarmKind, AlarmState, Severity

WRITER = "notify"
SILENT_MS = 30_000
"""The decision agent speaks every 3 s and is succeeded after 9: three times that, and nobody leads."""

DECIDE_SILENT = AlarmKind(
    name="decide_silent",
    severity=Severity.CRITICAL,
    writer=WRITER,
    meaning="No decision agent has given a sign for 30 s: nothing is promoted and nothing rolled back. Told by `notify` itself, "
    "it stands on no topic.",
    remedy="Start one: `tidegate decide`. Nodes keep what they run; `tidegate_decide_chain_broken` says whether the log is why.",
    timing="30 s, at the next sign",
)
KINDS = (DECIDE_SILENT,)


class Board(Struct, frozen=True):
    """The last record of each alarm by key, and what else matters. Bounded as the compacted topic is."""

    alarms: dict[str, Alarm] = {}
    silences: tuple[Silence, ...] = ()
    heard_ms: int = 0
    """When the decision agent gave its last sign; 0: not yet."""


class Hidden(Struct, frozen=True):
    """Why nobody is told of an alarm."""

    alarm: Alarm
    silence: Silence | None = None
    inhibitor: Alarm | None = None


def pin(board: Board, alarm: Alarm) -> Board:
    """Return the board with an edge. Total; the same one again changes nothing."""
    return replace(board, alarms=board.alarms | {alarm.key: alarm})


def standing(board: Board, now_ms: int) -> dict[str, Alarm]:
    """Return what fires, by key, the board's own alarm among them."""
    found = {key: alarm for key, alarm in board.alarms.items() if alarm.state is AlarmState.FIRING}
    if board.heard_ms and now_ms - board.heard_ms > SILENT_MS:
        silent = Alarm(
            id=DECIDE_SILENT.name,
            writer=WRITER,
            name=DECIDE_SILENT.name,
            state=AlarmState.FIRING,
            severity=DECIDE_SILENT.severity,
            start_ms=board.heard_ms + SILENT_MS,
            summary="No decision agent has given a sign for 30 s.",
        )
        found[silent.key] = silent
    return found


def hidden(board: Board, now_ms: int) -> dict[str, Hidden]:
    """Return what fires and is told to nobody, by key, with the reason: a silence, or a rollback of its service."""
    firing = standing(board, now_ms)
    louder = [alarm for alarm in firing.values() if alarm.severity is Severity.CRITICAL]
    found: dict[str, Hidden] = {}
    for key, alarm in firing.items():
        silence, inhibitor = silencing(board.silences, alarm, now_ms), inhibiting(louder, alarm)
        if silence is not None or inhibitor is not None:
            found[key] = Hidden(alarm, silence, inhibitor)
    return found


def turns(board: Board, now_ms: int) -> Iterator[int]:
    """Yield the times after ``now_ms`` at which time alone changes what is to be told."""
    yield from (silence.hush.until_ms for silence in board.silences if silence.hush.until_ms > now_ms)
    if board.heard_ms and board.heard_ms + SILENT_MS >= now_ms:
        yield board.heard_ms + SILENT_MS + 1
