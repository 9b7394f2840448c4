"""The protocol's faults and promises: what a story of a fleet may hold, and what must be true whatever it holds (I1 to I11).

``story`` draws stories from a numpy Generator, ``shrink`` makes one that fails as short as it can be, and ``watch`` judges a run
by nothing but what stands in logs and journals. Who plays a story is ``tidegate.world``; no rule of deciders or nodes may enter.
"""

from tidegate.sim.protocol.authors import content
from tidegate.sim.protocol.shrink import shorter
from tidegate.sim.protocol.story import Act, Deed, Links, Shape, Story, draw
from tidegate.sim.protocol.violation import Violation
from tidegate.sim.protocol.watch import Launched, Stood, Watch, Wrote
from tidegate.sim.protocol.waves import Waves

__all__ = [
    "Act",
    "Deed",
    "Launched",
    "Links",
    "Shape",
    "Stood",
    "Story",
    "Violation",
    "Watch",
    "Waves",
    "Wrote",
    "content",
    "draw",
    "shorter",
]
