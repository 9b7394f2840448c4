"""What a louder alarm makes needless to tell (I2): a rollback under way says why its service suffers."""

from collections.abc import Iterable

from tidegate.wire.judgement import Alarm, Severity

LOUDNESS = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
INHIBITORS = frozenset({"rollback_happened"})


def inhibiting(alarms: Iterable[Alarm], alarm: Alarm) -> Alarm | None:
    """Return the open alarm of the same service that makes a lesser one needless; None: there is none.

    Critical ones are always told: a rollback does not explain them away.
    """
    for louder in alarms:
        same = louder.service == alarm.service and louder.service
        if same and louder.name in INHIBITORS and LOUDNESS[louder.severity] > LOUDNESS[alarm.severity]:
            return louder
    return None
