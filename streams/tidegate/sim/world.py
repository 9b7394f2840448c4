"""The world: every nuisance that a healthy fleet has, as a figure with its unit and its reason.

Figures are those of ``everything`` in the measured comparison that the judgement was designed against; where that names no time
constant, the one is taken whose restarts scatter as those did. Logarithms are natural; "sd" of a factor is that of its logarithm.
"""

from msgspec import Struct
from msgspec.structs import replace


class World(Struct, frozen=True, kw_only=True):
    """A healthy fleet of one service. Rates are per hour, durations seconds, shares 0 to 1."""

    # What a node does on average.
    rate: float = 50.0
    """Requests per node and second: a middling service; 5 % errors are 2 or 3 a second."""
    error_ratio: float = 0.001
    """Of a median node: low enough that one more error is no signal."""
    median_s: float = 0.040
    sigma: float = 0.4
    """Of the lognormal body of latencies."""
    tail_share: float = 0.02
    """Requests that take another path: a cold cache, another service. p99 lies among them."""
    tail_median_s: float = 0.200
    tail_sigma: float = 0.5

    # Load.
    diurnal: float = 0.3
    """Amplitude of the day's sine: rollouts happen on its flanks, where rates drift by a tenth in half an hour."""
    load_sd: float = 0.10
    load_s: float = 60.0
    """AR(1) of the load that all nodes share."""
    share_sd: float = 0.10
    """Traffic share of each node: load balancers are not exact."""

    # Hosts.
    host_error_sd: float = 0.40
    """Two nodes of one service often differ by half in errors."""
    host_latency_sd: float = 0.06
    host_skew: float = 0.0
    """Skewness of these two and of their redrawn parts: 0 is lognormal; above, a shifted gamma's, whose exponential has a
    heavy tail.
    """
    slow_share: float = 0.05
    slow_factor: float = 1.3
    """Some hosts are of an older kind."""
    restart_error_sd: float = 0.10
    restart_latency_sd: float = 0.015
    """What a restart draws anew for its node: memory layout, connections, neighbours."""
    rollout_error_sd: float = 0.05
    rollout_latency_sd: float = 0.01
    """What the restarts of one rollout have in common: the hour, the state of what they depend on."""
    wander_error_sd: float = 0.20
    wander_error_s: float = 120.0
    """AR(1) of each node's errors."""
    wander_latency_sd: float = 0.03
    wander_latency_s: float = 60.0
    shared_latency_sd: float = 0.05
    shared_latency_s: float = 60.0
    """AR(1) of the latency that all nodes share: a database."""

    # Errors come in batches.
    retries: float = 1.5
    """Mean size of a batch of errors, geometric: a client tries again and fails again."""

    # Bad luck that is nobody's fault.
    bursts: float = 3.0
    """Per hour, on all nodes at once."""
    burst_s: tuple[float, float] = (10.0, 60.0)
    burst_errors: tuple[float, float] = (0.005, 0.03)
    burst_latency: tuple[float, float] = (1.2, 2.0)
    burst_sensitivity_sd: float = 0.2
    """How differently nodes feel the same burst."""
    incidents: float = 0.5
    """Per hour and node."""
    incident_s: tuple[float, float] = (5.0, 20.0)
    incident_errors: float = 0.01
    incident_latency: float = 2.0
    zone_incidents: float = 0.0
    """Per hour and zone; each is like a burst, for the nodes of one zone."""
    zone_incident_s: tuple[float, float] = (20.0, 180.0)

    # Restarts.
    cold_s: float = 15.0
    cold_errors: float = 0.005
    cold_latency: float = 1.5
    """A restarted node has ``cold_errors * e^(-age / cold_s)`` more errors and is slower by the factor
    ``1 + cold_latency * e^(-age / cold_s)``.
    """
    cold_rollout_sd: float = 0.5
    cold_node_sd: float = 0.3
    """Both amplitudes vary from rollout to rollout, and from node to node in one."""
    start_s: tuple[int, int] = (1, 3)
    """Whole seconds from the order to restart until it serves, first to last: until then no telemetry and state STARTING."""

    # Telemetry.
    lost: float = 0.001
    late: float = 0.001
    """Rows that never come, and rows that come after their second was closed: neither is judged."""
    late_s: tuple[float, float] = (2.5, 20.0)
    doubled: float = 0.002
    """Rows that come twice."""
    skew_s: float = 0.05
    """Sd of the clocks of nodes. Shown in rows only: it moves a row by a second at most, and panes as drawn leave it out."""

    # Shape.
    zones: tuple[str, ...] = ("a", "b", "c")


_EVERYTHING = World()
_ZONES = {"zone_incidents": 2.0}
_SKEWED = {
    "host_error_sd": 0.60,
    "host_latency_sd": 0.09,
    "restart_error_sd": 0.15,
    "restart_latency_sd": 0.0225,
    "slow_share": 0.10,
    "host_skew": 1.4,
}
_RETRIES = {"retries": 3.0}
"""Three attempts in all are what most clients are set to."""
_SLOW_START = {"cold_s": 45.0}

WORLDS: dict[str, World] = {
    "everything": _EVERYTHING,
    "zones": replace(_EVERYTHING, **_ZONES),
    "skewed": replace(_EVERYTHING, **_SKEWED),
    "retries": replace(_EVERYTHING, **_RETRIES),
    "slow_start": replace(_EVERYTHING, **_SLOW_START),
    "all_of_it": replace(_EVERYTHING, **_ZONES, **_SKEWED, **_RETRIES, **_SLOW_START),
}
"""By name. ``everything`` is what figures of speed are measured in; the others must be survived without being told of them."""
