"""The fold of one partition of ``nodeseconds``: rows, marks and contexts in; KPIs, scores, verdicts and alarms out.

Everything is evaluated at watermark records only (A3), so a replay of the partition gives the same output. Nothing here
reads a topic or keeps an
offset; ``tidegate.worker`` does.
"""

from tidegate.judge.fold import Outcome, step
from tidegate.judge.inherited import bequeath
from tidegate.judge.snapshot import restore, snapshot
from tidegate.judge.state import JudgeState, Tally

__all__ = ["JudgeState", "Outcome", "Tally", "bequeath", "restore", "snapshot", "step"]
