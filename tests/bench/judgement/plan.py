"""Which pieces are played: the short plan of ``make sim`` and the long one of ``make prove``."""

from collections.abc import Iterable

import numpy as np
from msgspec import Struct
from tests.bench.judgement.play import FAULTS, Piece

CANARIES = (1, 5, 20)
WORLD = "everything"
HARDER = ("zones", "skewed", "retries", "slow_start", "all_of_it")


class Size(Struct, frozen=True, kw_only=True):
    """How much is played. Numbers are per count of canaries, and per world of the harder ones."""

    episodes: int
    """Healthy hours in ``everything``."""
    delays: int
    """Of these, so many are played under each fault too, and so many with a doubled error rate."""
    licences: int
    harder: int
    harder_delays: int
    """Of these, with 5 canaries."""
    harder_canaries: tuple[int, ...] = CANARIES


def pieces(seed: int, size: Size) -> list[Piece]:
    """Return the pieces in an order in which a part of them tells what all will."""
    found = [
        Piece(world=WORLD, canaries=canaries, seed=seed + number, delays=number < size.delays, licence=number < size.licences)
        for number in range(size.episodes)
        for canaries in CANARIES
    ]
    found += [
        Piece(world=world, canaries=canaries, seed=seed + number, delays=number < size.harder_delays and canaries == 5)
        for number in range(size.harder)
        for world in HARDER
        for canaries in size.harder_canaries
    ]
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[place] for place in order.tolist()]


def short(seed: int, hours: int) -> list[Piece]:
    """Return the plan of ``make sim``: at least ``hours`` healthy hours in the world ``everything``, and a look at the others."""
    each = -(-hours // len(CANARIES))
    return pieces(seed, Size(episodes=each, delays=12, licences=6, harder=1, harder_delays=0, harder_canaries=(5,)))


def long(seed: int, hours: int) -> list[Piece]:
    """Return the plan of ``make prove``: ``hours`` in ``everything``, a fiftieth of that with each count in each harder world."""
    each, part = -(-hours // len(CANARIES)), -(-hours // 50)
    return pieces(seed, Size(episodes=each, delays=50, licences=80, harder=part, harder_delays=part))


def shown(pieces_: Iterable[Piece]) -> str:
    """Return in a few words what a plan holds."""
    listed = list(pieces_)
    return (
        f"{len(listed)} episodes of an hour, {sum(piece.delays for piece in listed)} of them under {len(FAULTS)} faults besides"
    )
