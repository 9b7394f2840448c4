"""The events that are counted: one column each, in a fixed order."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

QUANTILES = (0.50, 0.75, 0.90, 0.95, 0.99, 0.999)
"""Of the service's quiet time: a slow request is one in a bucket above such a quantile. Edges of buckets, so counts are exact."""
SLOW = ("slow@p50", "slow@p75", "slow@p90", "slow@p95", "slow@p99", "slow@p99.9")
METRICS = ("errors", "errorSeconds", *SLOW)
"""``errorSeconds`` counts seconds with any error: what retries multiply, it counts once."""
COUNT = len(METRICS)
FAMILIES = {"errors": slice(0, 2), "latency": slice(2, COUNT)}
LICENCE = {"errors": (0, 2.0), "slow@p90": (METRICS.index("slow@p90"), 1.5), "slow@p99": (METRICS.index("slow@p99"), 1.5)}
"""What a licence is given against: column, and the ratio that is not tolerated any more."""
