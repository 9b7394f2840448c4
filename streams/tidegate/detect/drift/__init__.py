"""DRIFT: dispersion-tempered, restart-aware, influence-trimmed evidence that a canary is worse than what it replaces.

The null hypothesis is not that canary and control are equal, which no two servers are, but that the canary's share of events
(errors, slow requests) is distributed as between servers of one version on this fleet. What that distribution is, is learned:
from the service's quiet time (``past``) and from its restarts (``warming``), with stated priors before (``learned``).

One second after another goes through ``gates`` (bursts, incidents of one zone or one node) into ``counts``, from every onset
that is still thought possible (``onsets``); ``evalue`` turns counts into evidence, ``weigh`` into what a verdict is made of.

What may not enter: decisions, sentences for people, anything but arrays and numbers about one service.
"""
