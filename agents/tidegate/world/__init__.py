"""A world in one process: a log, a clock and a disk that are simulated, for the real shells of deciders and nodes.

It ships, so that users can test their own executors and gates against it. Only ports are implemented here, and what befalls them;
no rule of a rollout may enter.

``MemoryLog``, ``MemoryDisk`` and ``SimClock`` serve tests that run on asyncio's own loop. ``play`` plays whole stories
(``tidegate.sim.protocol``) on virtual time: every process has an event loop of its own (``timeline``, ``process``), a link to the
broker with faults of its own (``network``) and, where it is a node, a machine that outlives it (``machine``). ``fleet`` puts real
deciders and nodes on them, ``people`` and ``attack`` are those around, ``deeds`` is what may befall all of them.
"""

from tidegate.world.clock import SimClock
from tidegate.world.disk import MemoryDisk
from tidegate.world.log import MemoryLog, MemoryReader

__all__ = ["MemoryDisk", "MemoryLog", "MemoryReader", "SimClock"]
