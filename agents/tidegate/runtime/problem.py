"""The one exception that a person sees: what is wrong, and what to do."""


class Problem(Exception):
    """An expected failure. ``what`` and ``remedy`` are one line each; ``code`` is the exit code of a command that ends by it."""

    def __init__(self, what: str, remedy: str = "", *, code: int = 1) -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy
        self.code = code
