"""The one follower of flags: what SDK, API server and node agent know of ``flags``, verified, kept up to date, and kept over a
start without broker.

It knows what is published and by whom, and how old that is. How a flag is evaluated (``tidegate.flags``), what a provider tells
its service, and every rule about rollouts stay out.
"""

from tidegate.flagfeed.follow import Follower, News, Status
from tidegate.flagfeed.held import Held, Kept

__all__ = ["Follower", "Held", "Kept", "News", "Status"]
