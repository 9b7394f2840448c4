"""A person on the node itself, when nothing else is left: a file in the state folder asks, another one answers.

Who may write there is who may stop the agent. No broker and no network is needed (protocol promise 20: local revert with the
broker down). The request names the version that is to be left, so that obeying it twice does nothing more.
"""

from msgspec import Struct

from tidegate.ports import Disk
from tidegate.wire.codec import Malformed, decode, encode
from tidegate.wire.names import Label, Name

ASKED = "revert"
ANSWERED = "reverted"


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
    try:
        return decode(disk.read(ANSWERED) or b"", Reverted)
    except Malformed:
        return None


def asked(disk: Disk) -> Revert | None:
    """Return what is asked and not answered yet. What cannot be read asks nothing."""
    request = disk.read(ASKED)
    if not request:
        return None
    try:
        revert = decode(request, Revert)
    except Malformed:
        return None
    before = answer(disk)
    return None if before is not None and before.id == revert.id else revert
