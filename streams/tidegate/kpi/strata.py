"""Strata: nodes that share their luck. An incident of one zone hits all its nodes, so nodes are compared within a stratum."""

from collections.abc import Mapping

HARDWARE_LABELS = ("hardware", "host.type")
"""Labels that name a kind of machine, the first present; the second is OpenTelemetry's."""


def stratum_of(zone: str, labels: Mapping[str, str]) -> str:
    """Return the stratum of a node: its zone and its kind of machine.

    >>> stratum_of("a", {"host.type": "c5.large"}), stratum_of("a", {}), stratum_of("", {})
    ('a/c5.large', 'a', '')
    """
    hardware = next((labels[name] for name in HARDWARE_LABELS if labels.get(name)), "")
    return f"{zone}/{hardware}" if hardware else zone
