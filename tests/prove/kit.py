"""What proofs share."""


class Refuted(Exception):
    """A proof that does not hold. Says what was expected and what was found."""
