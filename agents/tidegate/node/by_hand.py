"""A person on the node itself, when nothing else is left: a file in the state folder asks, another one answers.

Who may write there is who may stop the agent. No broker and no network is needed (protocol promise 20: local revert with the
broker down). The request names the version that is to be left, so that obeying it twice does nothing more.
"""

import contextlib
from typing import TypeVar

from msgspec import Struct

from tidegate.ports import Disk
from tidegate.wire.codec import Malformed, decode, encode
from tidegate.wire.names import Label, Name

ASKED = "revert"
ANSWERED = "reverted"
T = TypeVar("T")


class Revert(Struct, frozen=True, kw_only=True):
    """Which service is to leave which version, who says so, and why."""

    id: Name
    leave: dict[Name, Name]
    actor: Label
    reason: Label = ""

    @property
    def why(self) -> str:
        """Return the sentence that the report carries."""
        return f"{self.actor} reverted it by hand on this node" + (f": {self.reason}" if self.reason else "")


class Reverted(Struct, frozen=True, kw_only=True):
    """What came of a request, by service."""

    id: Name
    said: dict[Name, str]


def ask(disk: Disk, revert: Revert) -> None:
    """Ask the agent of a node, or its next life. OSError."""
    disk.write(ASKED, encode(revert))


def answer(disk: Disk) -> Reverted | None:
    """Return what the agent answered last; None where it never did."""
    return _read(disk, ANSWERED, Reverted)


def asked(disk: Disk) -> Revert | None:
    """Return what is asked and not answered yet. What cannot be read asks nothing."""
    revert, before = _read(disk, ASKED, Revert), answer(disk)
    return None if revert is not None and before is not None and before.id == revert.id else revert


def _read(disk: Disk, name: str, kind: type[T]) -> T | None:
    with contextlib.suppress(OSError, Malformed):  # root may have written what the agent's user may not read
        return decode(disk.read(name) or b"", kind)
    return None
