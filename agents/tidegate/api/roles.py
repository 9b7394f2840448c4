"""What a token may do: its role's rights, within its scopes. Everything that is not named is denied."""

from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta

from tidegate.wire.names import FLAG_PREFIX, service_subject


class Role(StrEnum):
    """Who somebody is to the API. A token without a role asks for flags alone."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"
    ALERTS = "alerts"
    """Alertmanager's: it posts alerts, and can do nothing else."""


class Right(StrEnum):
    """One thing that may be done. Most are the verb of an intent; ``start`` hands on a plan or group that an operator signed."""

    READ = "read"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"
    UNDO = "undo"
    RETRY = "retry"
    KILL = "kill"
    RESTORE = "restore"
    SILENCE = "silence"
    APPROVE = "approve"
    RELEASE = "release"
    CORDON = "cordon"
    UNCORDON = "uncordon"
    SET = "set"
    SHARE = "share"
    ARCHIVE = "archive"
    POLICY = "policy"
    """Hand on a policy that an operator's key signed."""
    AUDIT = "audit"
    """See who was refused what."""
    ALERT = "alert"
    """Let an alert of others stop a service's rollouts, and abort one where the settings say so."""


_NAMES = frozenset(map(str, Right))
_ABOVE = frozenset({Right.RELEASE, Right.CORDON, Right.UNCORDON, Right.ARCHIVE, Right.AUDIT})
_OPERATES = frozenset(Right) - _ABOVE - {Right.APPROVE, Right.ALERT}

RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.READ}),
    Role.OPERATOR: _OPERATES,
    Role.APPROVER: frozenset({Right.READ, Right.APPROVE}),
    Role.ADMIN: frozenset(Right),
    Role.ALERTS: frozenset({Right.ALERT}),
}
"""An operator approves of nothing: who asks and who approves are two people, with two tokens."""

ScopeText = Annotated[
    str,
    Meta(
        pattern=r"^(flag/[A-Za-z0-9._*-]{1,128}/)?[A-Za-z0-9._*-]{1,128}(:[a-z]+(,[a-z]+)*)?$(?!\n)",
        description="a pattern of services or flags, and what may be done with them: shop-*, shop:pause,abort, flag/web/*:kill",
    ),
]
"""``PATTERN`` or ``PATTERN:RIGHT,RIGHT``. Of what a pattern matches reading is always allowed."""


def scope_fault(text: str) -> str:
    """Return what is wrong with the rights that a scope names; empty: nothing."""
    named = [one for one in text.partition(":")[2].split(",") if one]
    unknown = [one for one in named if one not in _NAMES]
    return f"{', '.join(unknown)}: no right; there are {', '.join(Right)}" if unknown else ""


def allows(role: Role, scopes: tuple[str, ...], right: Right, subject: str = "") -> bool:
    """Return whether a role within its scopes has a right on a subject. Without a subject: on the fleet as a whole, which
    scopes leave only to be read.

    >>> allows(Role.OPERATOR, ("shop-*:pause",), Right.PAUSE, "svc/shop-eu")
    True
    >>> allows(Role.OPERATOR, ("shop-*:pause",), Right.ABORT, "svc/shop-eu")
    False
    """
    if right not in RIGHTS[role]:
        return False
    if not scopes:
        return True
    if not subject:
        return right is Right.READ
    return any(_covers(scope, right, subject) for scope in scopes)


def rights_of(role: Role, scopes: tuple[str, ...], subject: str = "") -> frozenset[Right]:
    """Return what a role within its scopes may do to a subject; without one what it may do to anything at all.

    >>> sorted(rights_of(Role.OPERATOR, ("shop-*:pause",)))
    [<Right.PAUSE: 'pause'>, <Right.READ: 'read'>]
    """
    if subject or not scopes:
        return frozenset(right for right in Right if allows(role, scopes, right, subject))
    named = [one.partition(":")[2] for one in scopes]
    return frozenset(
        right for right in RIGHTS[role] if right is Right.READ or any(not one or right in one.split(",") for one in named)
    )


def _covers(scope: str, right: Right, subject: str) -> bool:
    pattern, _, rights = scope.partition(":")
    whole = pattern if pattern.startswith(FLAG_PREFIX) else service_subject(pattern)
    if not fnmatchcase(subject, whole) or subject.count("/") != whole.count("/"):
        return False
    return right is Right.READ or not rights or right in rights.split(",")


__all__ = ["RIGHTS", "Right", "Role", "ScopeText", "allows", "rights_of", "scope_fault"]
