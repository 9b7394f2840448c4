"""What a service uses: publish telemetry in a few lines, without ever waiting for or failing because of Tidegate.

    from tidegate.sdk import Publisher

    with Publisher(service="shop") as telemetry:
        with telemetry.request():
            ...

Light by rule: nothing here needs more than aiokafka and msgspec. Recording never blocks, never raises into the service,
and memory is
bounded: rows that cannot be sent are dropped, the oldest first, and counted.
"""

from tidegate.sdk.identity import Identity
from tidegate.sdk.publisher import AsyncPublisher, Publisher
from tidegate.sdk.recorder import Recorder
from tidegate.sdk.sender import Stats

__all__ = ["AsyncPublisher", "Identity", "Publisher", "Recorder", "Stats"]
