"""A fault that nobody expected, for the log."""

import traceback
from pathlib import PurePath


def told(fault: BaseException) -> str:
    """Return what a fault is and where it rose, without its text: that may hold an address or a secret.

    >>> def ask(): raise KeyError("https://example.org/?token=do-not-tell")
    >>> try:
    ...     ask()
    ... except KeyError as fault:
    ...     told(fault).partition(" at ")[0]
    'KeyError in ask'
    """
    frames = traceback.extract_tb(fault.__traceback__)
    where = f" in {frames[-1].name} at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(fault).__name__}{where}"
