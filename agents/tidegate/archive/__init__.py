"""Archives of the control topics: one file from which a fleet goes on, on another cluster.

Here live the file format, and the order in which topics are read and written. Nothing here decides anything: what a rollout does
next is left to the decision agents that begin to read when all is there.
"""

from tidegate.archive.contents import Checked, check
from tidegate.archive.export import Exported, export
from tidegate.archive.file import Damaged
from tidegate.archive.restore import Restored, Target, restore

__all__ = ["Checked", "Damaged", "Exported", "Restored", "Target", "check", "export", "restore"]
