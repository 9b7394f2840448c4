r"""Names that travel: patterns of identifiers, subjects and their keys, durations and shares in plans.

Patterns end in ``$(?!\n)``: ``$`` alone also matches before a newline at the end, and a name with one must not pass.
"""

import re
from functools import lru_cache
from typing import Annotated

from msgspec import Meta

NAME_LENGTH_MAX = 128
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$(?!\n)"
_NAME_TEXT = "a name of letters, digits, . _ - (at most 128)"
Name = Annotated[str, Meta(pattern=_NAME, description=_NAME_TEXT)]
UncheckedName = Annotated[str, Meta(max_length=NAME_LENGTH_MAX, description=_NAME_TEXT)]
"""A name that ``is_name`` looks at, or that was looked at before: the pattern costs more than the rest of a row."""
LABEL_LENGTH_MAX = 256
Label = Annotated[str, Meta(max_length=LABEL_LENGTH_MAX)]
Subject = Annotated[
    str,
    Meta(
        pattern=r"^(svc/[A-Za-z0-9._-]{1,128}|group/[A-Za-z0-9._-]{1,128}|flag/[A-Za-z0-9._-]{1,128}/([A-Za-z0-9._-]{1,128}|\$evaluators|\$metadata))$(?!\n)"
    ),
]
FLAG_PREFIX = "flag/"
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)", description="a sha256 of 64 hexadecimal digits")]
Duration = Annotated[str, Meta(pattern=r"^[0-9]{1,9}(ms|s|m|h|d)$(?!\n)", description="a number and ms, s, m, h or d, as in 90s")]
Share = Annotated[
    str, Meta(pattern=r"^([0-9]{1,9}|([0-9]{1,2}|100)%)$(?!\n)", description="a number of nodes, or a percentage of the roster")
]

CLAIM = "claim/"
"""Every key of a claim begins so."""
EPOCH_JUMP_MOST, EPOCH_DIGITS_MOST = 1_000, 15
"""Whoever may write to ``desired`` spends at most so many epochs by one record; there are 2^53."""

NAMES_KNOWN_MAX = 1 << 16
_is_name = re.compile(_NAME).match
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@lru_cache(NAMES_KNOWN_MAX)
def is_name(text: str) -> bool:
    """Return whether a text is a name. Remembers what it was asked, for the same few names come every second.

    >>> is_name("web-1"), is_name("web 1"), is_name("")
    (True, False, False)
    """
    return _is_name(text) is not None


def service_subject(service: str) -> str:
    """Return the subject under which a service is rolled out.

    >>> service_subject("shop")
    'svc/shop'
    """
    return f"svc/{service}"


def service_of(subject: str) -> str | None:
    """Return the service that a subject rolls out, or None where the subject is a flag.

    >>> service_of("svc/shop"), service_of("flag/web/dark")
    ('shop', None)
    """
    kind, _, rest = subject.partition("/")
    return rest if kind == "svc" else None


def judged(subject: str, service: str) -> str:
    """Return the name of what is judged of a subject on the telemetry of a service: of a flag once for each service that its
    guard names (G3).

    >>> judged("svc/shop", "shop"), judged("flag/web/dark", "shop")
    ('svc/shop', 'flag/web/dark shop')
    """
    return f"{subject} {service}" if subject.startswith(FLAG_PREFIX) else subject


def claim_key(epoch: int, life: str) -> str:
    """Return the key under which a life of a decider claims an epoch (E2).

    >>> claim_key(3, "d1.7")
    'claim/3/d1.7'
    """
    return f"{CLAIM}{epoch}/{life}"


def epoch_spent(key: str, highest: int) -> int:
    """Return the highest epoch that is gone once a claim stands under a key and does not count, given the highest known so far.

    Its life may have won that epoch before its signature was revoked, and its takeover may still be on its way, so nobody who
    claims it later leads by it; a number is worth nothing by itself. One far beyond all others is no claim that ever counted.

    >>> epoch_spent("claim/3/d1.7", 2), epoch_spent("claim/3/d1.7", 5), epoch_spent("claim/9999/d1.7", 2)
    (3, 5, 2)
    """
    named = key.removeprefix(CLAIM).partition("/")[0]
    if not (named.isascii() and named.isdecimal() and len(named) <= EPOCH_DIGITS_MOST):
        return highest
    epoch = int(named)
    return epoch if highest < epoch <= highest + EPOCH_JUMP_MOST else highest


def duration_ms(text: str) -> int:
    """Return a duration such as ``90s`` in milliseconds; ValueError where it is none.

    >>> duration_ms("250ms"), duration_ms("2m")
    (250, 120000)
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write a number and ms, s, m, h or d, as in 90s")
    return int(match[1]) * _UNIT_MS[match[2]]


def share_of(text: str, whole: int) -> int:
    """Return how many of ``whole`` a share names: rounded down, at least 1 (rule B1), at most ``whole``.

    >>> share_of("25%", 12), share_of("1%", 12), share_of("5", 3)
    (3, 1, 3)
    """
    number = whole * int(text[:-1]) // 100 if text.endswith("%") else int(text)
    return min(whole, max(1, number))
