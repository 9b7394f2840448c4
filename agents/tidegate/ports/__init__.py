"""The hands of a shell, as arguments: log, clock and disk.

Every agent gets these passed in, so that the same code runs on Kafka and on a simulated world. Only protocols and the
machine's own clock and disk stand here;
Kafka is in ``tidegate.broker``, the simulated ones in ``tidegate.world``.
"""

from tidegate.ports.clock import Clock, SystemClock
from tidegate.ports.disk import Disk, SystemDisk
from tidegate.ports.log import RECENT_RECORDS, Appended, Log, LogReader, Record, SendRefused, SendUnknown

__all__ = [
    "RECENT_RECORDS",
    "Appended",
    "Clock",
    "Disk",
    "Log",
    "LogReader",
    "Record",
    "SendRefused",
    "SendUnknown",
    "SystemClock",
    "SystemDisk",
]
