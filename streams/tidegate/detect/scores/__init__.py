"""How unusual a KPI is, against its own past, without a threshold of its own: the history view and the alarm ``anomaly``.

Four parts, one a module: ``level`` (how many standard deviations from what is usual now, River), ``season`` (levels that are
usual at this time of day), ``rank`` (a score's conformal p-value among the scores of the last day, so that one threshold fits
every series) and ``crossing`` (evidence from several seconds, said once). Scores decide nothing about a rollout. What may not
enter: clocks, randomness, and anything that a checkpoint cannot hold as plain data.
"""

from tidegate.detect.scores.series import ScoreState, score, scores_of

__all__ = ["ScoreState", "score", "scores_of"]
