"""Outgoing gates: whom notify asks before a rollout goes on, one kind a file, found without being told (I2).

A file has ``KIND``, ``Options`` and ``make(options, base)``, which returns a ``Gate``. What a gate cannot say is no refusal: an
error, a time that runs out or an unknown answer leaves it undecided, and it is asked again until its plan's ``default`` holds.
"""

from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from tidegate.notify.kinds import made
from tidegate.rollout.outgoing import OpenGate

AT_ONCE_MAX = 16
"""So many questions of one gate are asked at once; others of the same gate wait for their turn."""


class Says(StrEnum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNDECIDED = "undecided"


class Answer(Struct, frozen=True):
    """An answer, and why, in a line."""

    says: Says
    reason: str = ""


class Gate(Protocol):
    """One whom notify asks."""

    name: str
    every_s: float
    """So long after an undecided answer it is asked again."""

    async def ask(self, question: OpenGate, now_ms: int) -> Answer:
        """Ask; bounded in time. Cancelled, it ends what it began: its process, its connection. Never raises for what the other
        side does.
        """
        ...


def build(gates: list[dict[str, Any]], base: Path) -> list[Gate]:
    """Return the gates that the settings name. Problem (code 2) with the path of what is wrong."""
    return made(gates, __name__, "notify.gates", base)
