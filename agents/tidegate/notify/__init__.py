"""notify: reads alarms and decisions, tells targets, asks gates (I2). What is told and when is decided in ``tidegate.alarms``.

Here live time, sockets, retries and secrets. The answers of gates are all that it writes to a topic. Any number may run: each
target is told by each of them, with ids that follow from the content, so that a receiver that keeps ids, as Alertmanager keeps
labels, sees one.
"""

from tidegate.notify.gatekeeper import Gatekeeper
from tidegate.notify.gates import build as build_gates
from tidegate.notify.notifier import Notifier
from tidegate.notify.targets import Place, Target, build

__all__ = ["Gatekeeper", "Notifier", "Place", "Target", "build", "build_gates"]
