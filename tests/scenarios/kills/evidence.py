"""What the verifier goes by: the log as a plain consumer read it, what programs wrote, and what was done to whom."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from tidegate.wire.documents import Order
from tidegate.wire.envelope import Trust
from tidegate.wire.keys import trust_of, unseal_root

T = TypeVar("T", bound=Struct)

TOPICS = ("desired", "decisions", "verdicts", "plans", "intents")
"""Each has one partition."""


class Line(Struct, frozen=True):
    """A record as it was read. ``at_ms``: when, in monotonic ms; record times are of clocks that may be wrong."""

    topic: str
    offset: int
    key: str
    value: bytes
    at_ms: int


class Slot(Struct, frozen=True):
    """What one copy of a node's memory said when a program began: the order accepted, and version and token begun."""

    serial: int
    order: Order | None = None
    begun: tuple[str, str] | None = None


class Run(Struct, frozen=True):
    """One line that a program wrote of itself (see ``program``)."""

    what: str
    node: str
    version: str
    pid: int
    started: int
    at_ms: int
    sha256: str = ""
    token: str = ""
    slots: tuple[Slot, ...] = ()

    @property
    def process(self) -> tuple[int, int]:
        """Which process wrote it; a pid alone may be given again."""
        return self.pid, self.started


class Deed(Struct, frozen=True):
    """One thing that was done, to whom, from when to when. ``ROUND``: at its end everything was healed, and had time."""

    what: str
    who: str
    at_ms: int
    until_ms: int
    epoch: int = 0
    """Of the leader that was killed."""
    hits: int = 0


class Evidence(Struct, frozen=True, kw_only=True):
    """All of it. ``seen`` was read while everything ran, ``again`` at the end; ``alive``: processes that ran at the end."""

    trust: Trust
    seen: tuple[Line, ...]
    again: tuple[Line, ...]
    runs: tuple[Run, ...]
    story: tuple[Deed, ...]
    alive: frozenset[tuple[int, int]]


def trust_in(keys: Path) -> Trust:
    """Return the trust that a chain of key documents in a folder states."""
    trust = trust_of(unseal_root((keys / "root-1.json").read_bytes(), None))
    return trust_of(unseal_root((keys / "root.json").read_bytes(), trust))


def lines_of(path: Path, kind: type[T]) -> list[T]:
    """Return the lines of a file as structs; one that is being written is not there yet."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    return [msgspec.convert(json.loads(line), kind) for line in whole.splitlines()]


def living(runs: Iterable[Run]) -> frozenset[tuple[int, int]]:
    """Return which of the processes that wrote are there now."""
    return frozenset(run.process for run in runs if _started(run.pid) == run.started)


def _started(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0
