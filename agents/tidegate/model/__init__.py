"""What a person's tool knows of an installation, folded from the same topics that the agents read.

The command line shows it; it decides nothing and writes nothing.
"""

from tidegate.model.flags import FlagSummary, flag_summary
from tidegate.model.model import TOPICS, Glass, Model, Told
from tidegate.model.summary import Summary, last_rollout, summary

__all__ = ["TOPICS", "FlagSummary", "Glass", "Model", "Summary", "Told", "flag_summary", "last_rollout", "summary"]
