"""When a series has left what is usual: evidence from several seconds, said once and not at every point.

A p-value of 1/1000 comes 86 times a day in a series of seconds that is quite healthy. So p-values are gathered, by a conformal
CUSUM: each is a bet against the null, ``bet(p)``, and the evidence is ``max(0, evidence + tempering * log(bet(p)))``.

Null hypothesis: the scores are exchangeable, so that p-values are independent and uniform or larger. Guarantee under it: the mean
time to a false crossing is at least ``PATIENCE`` seconds, because the CUSUM is at most the Shiryaev-Roberts sum of such bets,
whose mean after n seconds is at most n. Vovk, Nouretdinov and Gammerman, "Testing exchangeability on-line" (ICML 2003; the
power martingale); Vovk, "Testing randomness", arXiv 1906.09256 (conformal CUSUM and its false alarms), and arXiv 2412.03464.

What breaks it: ranks are taken among a day and not among everything, which is a small matter; and real series come in clusters
(load wanders, errors burst), so that one excursion is counted at each of its seconds. Therefore bets are tempered by the length
of the series' own clusters. Tempering cannot hurt the guarantee (Jensen); that it suffices for clusters is measured, not
proven: docs/scores.md, where errors in bursts and load that wanders for minutes still cross more often than ``PATIENCE`` says.
"""

from math import log

from msgspec import Struct, field

UNUSUAL = 0.005
"""The one threshold on a p-value: a crossing is said in a second that is itself so rare. Without it a long run of mildly high
values would be reported, at a moment that shows nothing."""
PATIENCE = 864_000
"""Seconds between two false crossings of one series, in the mean and at the least: ten days. Lower, and a fleet of a hundred
series has more false ones than anybody reads; each factor of ten costs a second or two of delay."""
EVIDENCE = log(PATIENCE)
EXPONENT = 0.05
"""Of the bet: it gains on p-values under 4 % and loses up to a factor 20 on others, so that only a run of rare scores adds up
and not an hour that is a little high."""
BLOCK = 100
BLOCKS = 4
"""The peak must beat the last 400 points before it (four blocks, and the one under way): a burst that is no larger than that of
five minutes ago is the same story."""
QUIET = 60
"""Seconds without an unusual one before a series that crossed may cross again: an incident that flickers is one incident."""
HELD = 600
"""Seconds of an incident whose scores are kept out of the history, so that it does not hide the next one. Longer, and what lasts
is not an incident but how things are now."""
TAIL = 0.02
"""p-values that make up clusters: rare enough to be what false crossings are made of, and frequent enough to be counted within
the hour."""
CLUSTERS = 50
"""Clusters over which their length is averaged."""
CLUSTER_MOST = 10
"""Seconds that a cluster counts for at most: one incident that did not cross must not make a series deaf."""
CLUSTER_PRIOR = 2.0
"""Seconds; of a series of which nothing is known yet. Less, and a bursty series crosses falsely in its first hour."""
TEMPERING = 2.0
"""Power of the length that bets are divided by. By 1 a cluster of middling length counts as one second; but lengths scatter about
their mean, and a series that wanders would cross several times a day."""
FAR = 8
"""Bins beyond every score of the last day, which is twice as high: nothing that a series does by itself. Nearer, and the largest
burst of a day would count."""
FAR_RUN = 3
"""So many such seconds in a row cross, whatever the clusters are like: a gross fault shall not wait until evidence that is
tempered has gathered. Fewer, and a single outlier with a neighbour would cross. Under exchangeability three new records in a
row have a probability of 6 / n^3, which takes nothing from ``PATIENCE``."""


class Watch(Struct, array_like=True):
    """Plain data, changed in place: the evidence, what it must beat, and how the series clusters."""

    evidence: float = 0.0
    peak: float = 0.0
    """Highest score since the evidence left 0; ``bar``: what it must beat."""
    bar: float = 0.0
    peaks: list[float] = field(default_factory=list)
    """Highest score of each block, the last one under way with ``filled`` points."""
    filled: int = 0
    silent: int = 0
    """Seconds for which a series that crossed must still be back; 0: it may cross."""
    held: int = 0
    """Seconds since it crossed."""
    run: int = 0
    """Seconds for which p-values have been in the tail; ``length``: how long such runs are in the mean."""
    length: float = CLUSTER_PRIOR
    reach: int = 0
    """Highest bin of the history before the ``far`` seconds that the series has been far beyond it."""
    far: int = 0

    @property
    def teaches(self) -> bool:
        """Whether scores belong to the history now."""
        return not self.silent or self.held > HELD

    @property
    def doubtful(self) -> bool:
        """Whether an excursion is under way of which it is not clear what it is."""
        return self.evidence > 0.0 or self.far > 0

    def see(self, score: float, p_value: float, beyond: tuple[int, int] = (0, 0)) -> bool:
        """Take one score that has a p-value; return whether the series leaves what is usual with it.

        ``beyond``: its bin, and the highest one of the history.
        """
        crosses = False
        if not self.far:
            self.reach = beyond[1]
        self.far = self.far + 1 if beyond[0] >= self.reach + FAR else 0
        if self.silent:
            self.silent = QUIET if p_value <= UNUSUAL else self.silent - 1
            self.held += 1
        else:
            crosses = self._gather(score, p_value) or self.far >= FAR_RUN
        self._note(score)
        if crosses:
            self.silent, self.held, self.evidence, self.run = QUIET, 0, 0.0, 0
        elif self.teaches:
            self._cluster(p_value)
        return crosses

    def _gather(self, score: float, p_value: float) -> bool:
        if self.evidence <= 0.0:
            self.peak, self.bar = 0.0, max(self.peaks, default=0.0)
        self.peak = max(self.peak, score)
        self.evidence = min(max(0.0, self.evidence + log(bet(p_value)) / self.length**TEMPERING), EVIDENCE)
        return self.evidence >= EVIDENCE and p_value <= UNUSUAL and self.peak > self.bar

    def _note(self, score: float) -> None:
        if not self.peaks or self.filled >= BLOCK:
            self.peaks = [*self.peaks[-BLOCKS:], 0.0]
            self.filled = 0
        self.peaks[-1] = max(self.peaks[-1], score)
        self.filled += 1

    def _cluster(self, p_value: float) -> None:
        if p_value <= TAIL:
            self.run += 1
        elif self.run:
            self.length += (min(self.run, CLUSTER_MOST) - self.length) / CLUSTERS
            self.run = 0


def bet(p_value: float) -> float:
    """Return what 1 becomes when it is bet against a p-value in (0, 1]: over uniform p-values 1 in the mean.

    >>> round(bet(0.001), 1), round(bet(0.5), 3)
    (35.4, 0.097)
    """
    return float(EXPONENT * p_value ** (EXPONENT - 1.0))
