"""The fleet simulator: healthy fleets with every nuisance of real ones, labelled faults, one seed, event time.

It exists to show what the judgement does where the truth is known. What may not enter: a clock, a random source that was not
passed in (a numpy ``Generator``), and any knowledge of the detector: nothing in a world is chosen to please it.

How to use it::

    episode = Episode(world=WORLDS["everything"], canaries=5, fault=Fault(FaultKind.ERRORS, 0.05, onset_s=730))
    run = Run(episode, np.random.default_rng(7))
    for second in run.prelude():                    # history, a past restart of the same version, history
        ...                                         # second.context.placement is empty in quiet times: learn, else judge
    for second in run.rollout():                    # the measured one
        pane = second.pane(edges)                   # ServicePane; ``edges``: ascending histogram slots, () for none
        state, verdict = judge(state, second.context, pane, second.clock_ms)

``run.fork(fault)`` copies a run where it stands, to go on under another fault. ``run.blocks()`` gives the raw arrays instead of
panes: ``Block.requests``, ``errors``, ``heard`` [seconds, nodes], ``counts`` [seconds, nodes, 160], ``slow(edges)``,
``age_s``, and ``canary``, ``control``, ``rest`` as indices of nodes. ``Senders`` turns a block into what nodes would send, with
boots, sequence numbers, losses, duplicates and skewed clocks: the same seconds, for the real intake and the real judge.
"""

from tidegate.sim.block import NEW, OLD, Block
from tidegate.sim.episode import SERVICE, Episode, Past
from tidegate.sim.faults import Fault, FaultKind
from tidegate.sim.rows import Senders, Sent
from tidegate.sim.run import Run, Second
from tidegate.sim.world import WORLDS, World

__all__ = [
    "NEW",
    "OLD",
    "SERVICE",
    "WORLDS",
    "Block",
    "Episode",
    "Fault",
    "FaultKind",
    "Past",
    "Run",
    "Second",
    "Senders",
    "Sent",
    "World",
]
