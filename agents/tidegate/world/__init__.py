"""A world in one process: a log, a clock and a disk that are simulated, for the real shells of deciders and nodes.

It ships, so that users can test their own executors and gates against it. Only ports are implemented here; no rule of a
rollout may enter.
"""

from tidegate.world.clock import SimClock
from tidegate.world.disk import MemoryDisk
from tidegate.world.log import MemoryLog, MemoryReader

__all__ = ["MemoryDisk", "MemoryLog", "MemoryReader", "SimClock"]
