"""``tidegate api``: flags for who does not follow the topic (OFREP over HTTP, flagd's sync), and the control API for people's
tools.

Here live sockets, tokens and bounds on both. Flags come from the one follower (``tidegate.flagfeed``) and the one evaluator
(``tidegate.flags``), the rest from the one read model (``tidegate.model``). Nothing is decided here; what is written is signed
intents, and plans that an operator signed.
"""

from tidegate.api.board import Board
from tidegate.api.control import Control, Mirror
from tidegate.api.metrics import Metrics
from tidegate.api.serve import Served, flags_served
from tidegate.api.tokens import Tokens

__all__ = ["Board", "Control", "Metrics", "Mirror", "Served", "Tokens", "flags_served"]
