"""When a change for the worse may have begun: the onsets that evidence is summed from, and the prior mass of each.

All stages of a rollout share one error budget: the masses of all onsets that can ever be add up to at most 1, so a mixture over
them keeps the guarantee of one e-value (sums of e-processes started at different times: Shin, Ramdas, Rinaldo,
arXiv 2203.03532, with weights instead of a sum, so that the bound is a probability of any false alarm).
"""

from msgspec import Struct

EARLY = ((0, 0.50), (15, 0.06), (30, 0.06), (60, 0.05), (120, 0.05))
"""Seconds after a stage's first release, and mass: most faults are there from the start, or come with the first real work."""
BRIEF, BRIEF_S = frozenset({15, 30}), 600
"""Of these, those that are given up after so long: by then they say what their neighbours say."""
EVERY_S = 60
FIRST_S = 180
LIVES_S = 180
"""Later onsets, one a minute, each looked at for three minutes: what has not shown by then is found from an older one."""
LASTING_S = 600
LASTING_MAX = 4
"""One in ten minutes stays, the last four of them: a small change needs longer than three minutes."""
LATER = 0.28
FIRST_STAGE = 0.75
HALF = 30
"""The later ones share ``LATER`` as 1 / ((j + HALF) (j + HALF + 1)), which never sums to more however long a stage bakes, and
falls to half only after a quarter of an hour."""


class Onset(Struct, frozen=True, array_like=True):
    """One onset: pane start in ms, prior mass, when it is given up (0: never), the stage whose early one it is (0: a later)."""

    start_ms: int
    mass: float
    until_ms: int = 0
    early: int = 0


def stage_mass(stage: int) -> float:
    """Return the part of the budget that the ``stage``-th change of the cohorts gets, counted from 1: they sum to 1.

    The first gets most: what is wrong with a release shows on its first servers, and there it must be seen soonest.

    >>> [round(stage_mass(stage), 3) for stage in (1, 2, 3)]
    [0.75, 0.125, 0.042]
    """
    return FIRST_STAGE if stage == 1 else (1.0 - FIRST_STAGE) / (stage * (stage - 1))


def onset_at(second: int, stage: int, start_ms: int) -> Onset | None:
    """Return the onset that begins ``second`` seconds after a stage's first release, at ``start_ms``; None: there is none."""
    share = stage_mass(stage)
    for at, mass in EARLY:
        if at == second:
            return Onset(start_ms, share * mass, start_ms + BRIEF_S * 1_000 if at in BRIEF else 0, early=stage)
    if second < FIRST_S or second % EVERY_S:
        return None
    number = (second - FIRST_S) // EVERY_S
    mass = LATER * HALF / ((number + HALF) * (number + HALF + 1))
    return Onset(start_ms, share * mass, 0 if second % LASTING_S == 0 else start_ms + LIVES_S * 1_000)


def kept(onsets: tuple[Onset, ...], now_ms: int, pinned_ms: int = 0) -> list[int]:
    """Return the places of the onsets that are still looked at: dropping one only lowers the evidence.

    The early ones of the first stage and of the last stay, so that what grows slowly and what came with the last stage are seen;
    and so does the one that begins at ``pinned_ms``.
    """
    last = max((onset.early for onset in onsets), default=0)
    lasting = [place for place, onset in enumerate(onsets) if not onset.until_ms and not onset.early][-LASTING_MAX:]
    early = [place for place, onset in enumerate(onsets) if onset.early in {1, last} and onset.early and not onset.until_ms]
    living = [place for place, onset in enumerate(onsets) if onset.until_ms > now_ms and onset.early in {0, 1, last}]
    pinned = [place for place, onset in enumerate(onsets) if onset.start_ms == pinned_ms]
    return sorted({*early, *lasting, *living, *pinned})
