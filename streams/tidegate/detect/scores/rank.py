"""A score's rank among the scores of its own series: its conformal p-value, so that one threshold fits all.

Null hypothesis: the scores of a series, the new one included, are exchangeable (any order of them was equally likely). Guarantee
under it: P(p <= a) <= a for every a, whatever the distribution of the scores: p = (1 + past scores that are at least as high) /
(past scores + 1). Scores are put into bins first and a score counts as tied with its whole bin, so p can only be too large; no
randomness breaks ties. Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World"; for anomalies Laxhammar,
"Conformal anomaly detection" (thesis, Skövde 2014).

What breaks it: a series whose scores follow one another (load that wanders) has the right share of small p-values but has them in
clusters; ``crossing`` allows for that. Incidents in the past make the next one look less unusual for as long as they are kept.

The history is a histogram in two generations. A histogram costs the same for a day of scores as for half an hour, and with a
day a burst that comes every hour is nothing new; so the rank is among the last 12 to 24 hours of seconds and not, as is common,
the last 2,000.
"""

from math import log2

from msgspec import Struct, field

GENERATION = 43_200
"""Scores after which the older half of the history is dropped: 12 hours of seconds. Less, and what happens every hour is news
each time."""
HISTORY_LEAST = 199
"""Scores before there is a p-value: with fewer none could be as small as ``crossing.UNUSUAL``."""
BINS_PER_DOUBLING = 8
"""Of 1 + score: a bin is 9 % wide. Coarser, and a score just beyond all others would tie with them."""
BINS = 80
"""Up to a score of 1,023; what is higher is all equally the worst."""

PENDING = 60
"""Scores of an excursion that wait until it is clear whether it is an incident: the first seconds of one would otherwise make the
next, as high, look usual. What takes longer than a minute without being one is learned."""


class Past(Struct, array_like=True):
    """Plain data, changed in place: how many scores fell into each bin, in the generation under way and the one before."""

    now: list[int] = field(default_factory=list)
    then: list[int] = field(default_factory=list)
    learned: int = 0
    """Scores in ``now``; ``before``: in ``then``."""
    before: int = 0
    pending: list[int] = field(default_factory=list)
    """Bins of scores that are not counted yet."""

    def p_value(self, at: int) -> float:
        """Return the p-value of a score in bin ``at``; -1.0 where there is too little history."""
        known = self.learned + self.before
        if known < HISTORY_LEAST:
            return -1.0
        return (1 + sum(self.now[at:]) + sum(self.then[at:])) / (known + 1)

    @property
    def highest(self) -> int:
        """The highest bin in which there is a score."""
        return max(len(self.now), len(self.then)) - 1

    def take(self, at: int, *, wait: bool) -> None:
        """Take a score in bin ``at``; with ``wait`` it is counted with the first one without, or never."""
        self.pending.append(at)
        if not wait or len(self.pending) >= PENDING:
            for one in self.pending:
                self.learn(one)
            self.pending.clear()

    def learn(self, at: int) -> None:
        """Count a score in bin ``at``."""
        if self.learned >= GENERATION:
            self.then, self.before = self.now, self.learned
            self.now, self.learned = [], 0
        if at >= len(self.now):
            self.now += [0] * (at + 1 - len(self.now))
        self.now[at] += 1
        self.learned += 1


def bin_of(score: float) -> int:
    """Return the bin of a score that is not negative.

    >>> bin_of(0.0), bin_of(1.0), bin_of(3.0), bin_of(1e9)
    (0, 8, 16, 79)
    """
    return min(int(BINS_PER_DOUBLING * log2(1.0 + score)), BINS - 1)
