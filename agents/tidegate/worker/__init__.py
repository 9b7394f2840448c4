"""The stream workers: Faust apps around the pure folds, and the one transport that they need (DESIGN 6).

``intake`` turns telemetry into columns, ``judge`` folds them into KPIs, scores, verdicts and alarms, ``experiment`` exposures
into sums per variant. Decode, step, emit: a rule about the domain does not enter this room, and nothing outside it knows Faust.
"""

from tidegate.worker.app import Role, Worker, WorkerFailed

__all__ = ["Role", "Worker", "WorkerFailed"]
