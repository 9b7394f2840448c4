"""notify: reads alarms and decisions, and tells targets (I2). What is told and when is decided in ``tidegate.alarms``.

Here live time, sockets, retries and secrets. It writes to no topic; any number may run: each target is told by each of them, with
ids that follow from the content, so that a receiver that keeps ids, as Alertmanager keeps labels, sees one.
"""

from tidegate.notify.notifier import Notifier
from tidegate.notify.targets import Target, build

__all__ = ["Notifier", "Target", "build"]
