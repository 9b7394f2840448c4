"""The control API under ``/api/v1``: what the installation knows, told with its age, and signed intents for those who may ask.

Here live the read model, the event stream, the routes and who may use them. Nothing is decided here: a write is an intent signed
with the key of role ``api``, or a plan that an operator signed, and its answer is a decision read back from the log.
"""

from tidegate.api.control.mirror import Mirror
from tidegate.api.control.server import Control

__all__ = ["Control", "Mirror"]
