"""Which pieces are played: the short plan of ``make sim`` and the long one of ``make prove``."""

from collections.abc import Iterable

from tests.bench.judgement.play import FAULTS, Piece

CANARIES = (1, 5, 20)
WORLD = "everything"
HARDER = ("zones", "skewed", "retries", "slow_start", "all_of_it")


def pieces(seed: int, episodes: int, delays: int, harder: int, harder_delays: int) -> list[Piece]:
    """Return the pieces, those with faults first. Numbers are per count of canaries, and per world of the harder ones.

    An episode is one healthy hour; ``delays`` of them, and ``harder_delays`` in each harder world with 5 canaries, are also
    played under each fault.
    """
    found = [
        Piece(world=WORLD, canaries=canaries, seed=seed + number, delays=number < delays, licence=number < delays)
        for number in range(episodes)
        for canaries in CANARIES
    ]
    found += [
        Piece(world=world, canaries=canaries, seed=seed + number, delays=number < harder_delays and canaries == 5)
        for number in range(harder)
        for world in HARDER
        for canaries in CANARIES
    ]
    return sorted(found, key=lambda piece: not piece.delays)


def short(seed: int, hours: int) -> list[Piece]:
    """Return the plan of ``make sim``: at least ``hours`` healthy hours in the world ``everything``, and a look at the others."""
    each = -(-hours // len(CANARIES))
    return pieces(seed, episodes=each, delays=min(each, 20), harder=1, harder_delays=0)


def long(seed: int, hours: int) -> list[Piece]:
    """Return the plan of ``make prove``: ``hours`` in ``everything``, a tenth of that with each count in each harder world."""
    each = -(-hours // len(CANARIES))
    return pieces(seed, episodes=each, delays=min(each, 60), harder=-(-hours // 10), harder_delays=min(-(-hours // 10), 60))


def shown(pieces_: Iterable[Piece]) -> str:
    """Return in a few words what a plan holds."""
    listed = list(pieces_)
    return (
        f"{len(listed)} episodes of an hour, {sum(piece.delays for piece in listed)} of them under {len(FAULTS)} faults besides"
    )
