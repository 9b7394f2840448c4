"""Plain values of whatever a service says: those of other libraries become plain ones, what is none becomes None.

A service says all kinds of things in the middle of its requests, and classes of others do as they like when they are asked for a
number. So nothing here raises, whatever that class raises.
"""

import operator
from typing import Any

LABEL_LENGTH_MAX = 256
"""As ``tidegate.wire.names.Label`` has it."""


def text_of(value: object) -> str | None:
    r"""Return a text that can travel as a name of a metric or slice, or as a label: 1 to 256 characters, no lone surrogate.

    >>> text_of("route=/cart"), text_of(""), text_of("\ud800"), text_of(7)
    ('route=/cart', None, None, None)
    """
    if not isinstance(value, str):
        return None
    text = str.__str__(value)  # plain, also where its class is another
    try:
        return text if 0 < len(text) <= LABEL_LENGTH_MAX and text.encode() else None
    except UnicodeEncodeError:
        return None


def number_of(value: Any) -> float | None:
    """Return a number, infinite ones too; None for NaN and for what is no number.

    >>> number_of(3), number_of(float("nan")), number_of("much")
    (3.0, None, None)
    """
    try:
        number = float(value)
    except Exception:  # noqa: BLE001 - of whatever class it is
        return None
    return None if number != number else number  # noqa: PLR0124 - NaN


def whole_of(value: Any) -> int | None:
    """Return a whole number of any size; None for what is none, 1.0 too.

    >>> whole_of(True), whole_of(10**30) == 10**30, whole_of(1.0)
    (1, True, None)
    """
    try:
        return int(operator.index(value))
    except Exception:  # noqa: BLE001 - of whatever class it is
        return None


def truth_of(value: object) -> bool | None:
    """Return whether something is true; None where it does not say.

    >>> truth_of("no"), truth_of([])
    (True, False)
    """
    try:
        return bool(value)
    except Exception:  # noqa: BLE001 - of whatever class it is
        return None
