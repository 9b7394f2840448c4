"""Where notices go: one file for each kind, found without being told. What may not enter: when and what is told.

A file has ``KIND``, ``Options`` (a struct: what config.yaml says beside the kind) and ``make(options, policy, place)``, which
returns a ``Target``. ``policy`` is the installation's; a kind may change it.
"""

from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from tidegate.alarms.notices import Notice, Policy
from tidegate.notify.kinds import made


class Undelivered(Exception):
    """A target did not take a notice; the text says why, without a secret."""


class Place(Struct, frozen=True):
    """Where an installation is."""

    base: Path
    """Paths of secrets are relative to it."""
    console: str = ""
    """Address of the console; empty: nothing links there."""


class Target(Protocol):
    """One receiver."""

    name: str
    policy: Policy

    async def send(self, notice: Notice, now_ms: int) -> None:
        """Tell it; ended where it is cancelled. Undelivered where it does not take it, or where an earlier send goes on."""
        ...


def build(targets: list[dict[str, Any]], policy: Policy, place: Place) -> list[Target]:
    """Return the targets that the settings name. Problem (code 2) with the path of what is wrong."""
    return made(targets, __name__, "notify.targets", policy, place)
