"""The decision agent: reads everything, lets the pure step decide, writes the record first and then the levels that
follow from it.

Here live leadership, signatures, time and sockets. Whether to promote, pause or roll back is decided in
``tidegate.rollout``; nothing here may have an
opinion on it.
"""

from tidegate.decider.decider import Decider
from tidegate.decider.timings import Timings

__all__ = ["Decider", "Timings"]
