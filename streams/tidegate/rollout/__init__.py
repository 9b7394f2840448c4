"""Who runs what, and when that changes: rosters, stages, batches, gates, advance and retreat (rules B, D, E1).

Everything is a fold: ``see`` keeps what the world last said, ``step`` returns the next records of the ledger, ``apply``
folds a record, ``levels`` derives the published documents from the ledger. No judging of telemetry (``tidegate.detect``
does that), no signatures, no offsets, no clock.
"""
