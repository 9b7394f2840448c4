"""Groups: plans of several services that belong together, in waves. Operators sign them; they stand in ``plans`` as
``group/<name>``.

A wave begins when everything of the one before is promoted and its watch is over, so the order is a list and has no cycles.
Each plan is in the group as its operator's envelope, verbatim: one record brings all of them or none, and nodes still see the
signature over the plan itself (E4).
"""

from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.names import Duration, Label, Name

GROUP_PREFIX = "group/"
WAVES_MAX = 20
MEMBERS_MAX = 50


class Wave(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Plans that run side by side."""

    plans: Annotated[tuple[str, ...], Meta(min_length=1, max_length=MEMBERS_MAX)]
    """Envelopes of plans, one of each service."""
    bake: Duration | None = None
    """So long after the last of them is done the next wave begins; none: at once."""


class Group(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    omit_defaults=True,
    tag="Group",
    tag_field="kind",
):
    """Plans in waves, as signed. Waves never overlap; a failure takes back all that has changed, the last wave first."""

    name: Name
    fleet: Name
    waves: Annotated[tuple[Wave, ...], Meta(min_length=1, max_length=WAVES_MAX)]
    issued_ms: Annotated[int, Meta(ge=0)]
    """A group takes the place of an ended one of its name only where it was issued later."""
    actor: Label = ""
    reason: Label = ""

    @property
    def key(self) -> str:
        """Key on ``plans``, and subject of the decisions about it."""
        return f"{GROUP_PREFIX}{self.name}"


class WaveFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wave as a person writes it."""

    plans: Annotated[tuple[str, ...], Meta(min_length=1, max_length=MEMBERS_MAX)]
    """Plan files, beside the group file."""
    bake: Duration | None = None


class GroupFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group as a person writes it: it becomes a ``Group`` with all of its plans signed."""

    name: Name
    waves: Annotated[tuple[WaveFile, ...], Meta(min_length=1, max_length=WAVES_MAX)]
    reason: Label = ""


def is_group(subject: str) -> bool:
    """Return whether a subject is a group.

    >>> is_group("group/checkout"), is_group("svc/shop")
    (True, False)
    """
    return subject.startswith(GROUP_PREFIX)
