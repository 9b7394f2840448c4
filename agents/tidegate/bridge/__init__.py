"""The OTLP bridge: what a fleet exports by OpenTelemetry becomes telemetry, so that its services need no code of ours.

Two steps, of which any number of bridges share the work. ``receive`` (OTLP/HTTP) and ``collect`` (a collector's topics) sort
requests out by process and write topic ``otlp``, keyed by node; ``convert`` folds a partition of it into rows. Decode, step,
emit: which metric is a request, and what a cumulative number means, is decided in ``tidegate.otlp``.
"""

from tidegate.bridge.collect import Collected
from tidegate.bridge.convert import Converter
from tidegate.bridge.decode import Encoding
from tidegate.bridge.metrics import Metrics
from tidegate.bridge.receive import Receiver, received
from tidegate.bridge.sorter import Sorter

__all__ = ["Collected", "Converter", "Encoding", "Metrics", "Receiver", "Sorter", "received"]
