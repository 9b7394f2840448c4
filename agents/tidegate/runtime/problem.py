"""The one exception that a person sees: what is wrong, and what to do."""


class Problem(Exception):
    """An expected failure. ``what`` and ``remedy`` are one line each, ``details`` one line for each of several faults.

    ``code`` is the exit code of a command that ends by it.
    """

    def __init__(self, what: str, remedy: str = "", *, code: int = 1, details: tuple[str, ...] = ()) -> None:
        super().__init__("; ".join((what, *details, *([remedy] if remedy else []))))
        self.what = what
        self.remedy = remedy
        self.code = code
        self.details = details
