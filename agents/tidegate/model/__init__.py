"""What a person's tool knows of an installation, folded from the same topics that the agents read.

The command line shows it; it decides nothing and writes nothing.
"""

from tidegate.model.model import TOPICS, Glass, Model, Told
from tidegate.model.summary import Summary, last_rollout, summary

__all__ = ["TOPICS", "Glass", "Model", "Summary", "Told", "last_rollout", "summary"]
