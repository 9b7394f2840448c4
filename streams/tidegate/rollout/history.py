"""What was settled before: where a fast plan may go back to (H2)."""

from tidegate.wire.plans import Artifact

HISTORY_KEPT = 10


def identity(artifact: Artifact) -> tuple[str, str, str]:
    """Return what makes an artifact what it is: version, digest, config digest."""
    return artifact.version, artifact.sha256, artifact.config_sha256 or ""


def remembered(history: tuple[Artifact, ...], before: Artifact | None, settled: Artifact | None) -> tuple[Artifact, ...]:
    """Return a subject's history, the newest first, once ``settled`` takes the place of what was settled before."""
    kept: dict[tuple[str, str, str], Artifact] = {}
    for one in (before, *history):
        if one is not None and (settled is None or identity(one) != identity(settled)):
            kept.setdefault(identity(one), one)
    return tuple(kept.values())[:HISTORY_KEPT]
