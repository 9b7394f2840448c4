"""Policies: what holds for rollouts whatever their plans say (H3). Operators sign them; they stand in ``plans`` as
``policy/<name>``.

A policy restrains starts and advances, never a retreat (D5). One that says nothing takes the place of an earlier one of its name,
and so ends it.
"""

from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.names import Duration, Label, Name

POLICY_PREFIX = "policy/"
FREEZES_MAX = 100
BUDGET_MAX = 100
DAY_MIN = 24 * 60
WEEK_MIN = 7 * DAY_MIN
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

TimeOfWeek = Annotated[
    str,
    Meta(
        pattern=r"^((mon|tue|wed|thu|fri|sat|sun) )?([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)",
        description="a time such as 18:00, or with its day, as in fri 16:00",
    ),
]


class Recurring(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """From one time to another, every week where both name a day, every day where none does.

    ``utcOffset`` is how far local time is ahead of UTC. It is a number and not a place: the day on which a country changes its
    clocks is no fact of the log, and a decision is replayed from the log alone (D2).
    """

    start: TimeOfWeek
    end: TimeOfWeek
    utc_offset: Annotated[str, Meta(pattern=r"^[+-](0[0-9]|1[0-4]):[0-5][0-9]$(?!\n)", description="as in +01:00")] = "+00:00"

    @property
    def span_min(self) -> int:
        """Minutes after which it comes again."""
        return WEEK_MIN if " " in self.start else DAY_MIN

    @property
    def offset_min(self) -> int:
        """Minutes that local time is ahead of UTC."""
        sign, hours, minutes = self.utc_offset[0], self.utc_offset[1:3], self.utc_offset[4:]
        return (-1 if sign == "-" else 1) * (int(hours) * 60 + int(minutes))


class Freeze(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """A time in which nothing starts and nothing advances (D4). Without times it is a blocker: it holds until lifted."""

    from_ms: Annotated[int, Meta(ge=0)] = 0
    until_ms: Annotated[int, Meta(ge=0)] = 0
    """0: it has no end."""
    recurring: Recurring | None = None
    """Within these times it holds only when this says so."""


class RollbackBudget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """So many rollbacks that nobody asked for, of all services that the policy covers; with the last of them nothing starts or
    advances, and someone is paged (D5). The same policy, signed anew, begins to count anew.
    """

    rollbacks: Annotated[int, Meta(ge=1, le=BUDGET_MAX)]
    within: Duration = "1h"


class Policy(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    omit_defaults=True,
    tag="Policy",
    tag_field="kind",
):
    """What is asked of every rollout of some services, as signed."""

    name: Name
    fleet: Name
    services: tuple[Name, ...] = ()
    """Which it covers; none: all."""
    freezes: Annotated[tuple[Freeze, ...], Meta(max_length=FREEZES_MAX)] = ()
    rollback_budget: RollbackBudget | None = None
    dwell: Duration | None = None
    """So long after a rollout of a service began, or a retreat of it ended, no other begins."""
    second_approver: bool = False
    """A plan begins only when somebody else than who signed it approves of it."""
    issued_ms: Annotated[int, Meta(ge=0)]
    """A policy takes the place of one of its name only where it was issued later: an old one cannot be played again."""
    actor: Label = ""
    reason: Label = ""

    @property
    def key(self) -> str:
        """Key on ``plans``, and subject of the decisions about it."""
        return f"{POLICY_PREFIX}{self.name}"

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        return not (self.freezes or self.rollback_budget or self.dwell or self.second_approver)


def policy_faults(policy: Policy) -> list[tuple[str, str]]:
    """Return every fault that types cannot see, as (path, problem); empty where the policy is sound."""
    found: list[tuple[str, str]] = []
    for index, freeze in enumerate(policy.freezes):
        at, recurring = f"freezes[{index}]", freeze.recurring
        if freeze.until_ms and freeze.until_ms <= freeze.from_ms:
            found.append((f"{at}.untilMs", "must be later than fromMs; leave it out for a freeze without an end"))
        if recurring is not None and (" " in recurring.start) != (" " in recurring.end):
            found.append((f"{at}.recurring.end", "start and end both name a day, or neither does"))
        if recurring is not None and recurring.start == recurring.end:
            found.append((f"{at}.recurring.end", "is the start: leave recurring out for a freeze that never opens"))
    return found
