"""``tidegate api``: flags for who does not follow the topic: OFREP over HTTP for any language, flagd's sync for its providers.

Here live sockets, tokens and bounds on both. What is served comes from the one follower (``tidegate.flagfeed``), what a user gets
from the one evaluator (``tidegate.flags``); nothing is decided here, nothing written to a topic.
"""

from tidegate.api.board import Board
from tidegate.api.metrics import Metrics
from tidegate.api.serve import Served, flags_served
from tidegate.api.tokens import Tokens

__all__ = ["Board", "Metrics", "Served", "Tokens", "flags_served"]
