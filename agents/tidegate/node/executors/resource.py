"""What OpenTelemetry's SDKs are told of a life: ``OTEL_RESOURCE_ATTRIBUTES``, added to whatever the service's own says.

``tidegate.*`` say who it is in Tidegate's words, whatever it calls itself; ``tidegate.otlp.identity`` reads them. What the
conventions have a name for is added where the service does not say it. ``service.instance.id`` is left to the SDK: a server that
forks would have one for all its processes. The cohort is shown, never used (A6).
"""

from collections.abc import Mapping
from urllib.parse import quote

from tidegate.node.executor import Launch

VARIABLE = "OTEL_RESOURCE_ATTRIBUTES"
SERVICE_NAME = "OTEL_SERVICE_NAME"


def resource_of(environment: Mapping[str, str], launch: Launch) -> dict[str, str]:
    """Return the variable, for a service with this environment of its own."""
    ours = {
        "tidegate.service": launch.service,
        "tidegate.node": environment.get("TIDEGATE_NODE", ""),
        "tidegate.version": launch.artifact.version,
        "tidegate.boot": launch.boot,
        "tidegate.cohort": launch.cohort.value,
    }
    said = [(entry.partition("=")[0].strip(), entry) for entry in environment.get(VARIABLE, "").split(",") if entry.strip()]
    kept = [entry for key, entry in said if key not in ours]
    usual = {
        "service.name": "" if environment.get(SERVICE_NAME) else launch.service,
        "service.version": launch.artifact.version,
        "deployment.id": launch.rollout,
    }
    added = ours | {key: value for key, value in usual.items() if key not in {key for key, _ in said}}
    return {VARIABLE: ",".join((*kept, *(f"{key}={quote(value, safe='')}" for key, value in added.items() if value)))}
