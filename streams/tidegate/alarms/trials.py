"""The alarms of experiments (I1): what makes their numbers worthless. Found by ``tidegate.experiments.alarms``.

None is critical: no release and no ramp waits for an experiment.
"""

from tidegate.wire.judgement import AlarmKind, Severity

WRITER = "experiment"

MISMATCH = AlarmKind(
    name="experiment_mismatch",
    severity=Severity.WARNING,
    writer=WRITER,
    meaning="The users of an experiment's variants are not in the shares that were declared: one variant loses users, or "
    "tells of fewer. Its numbers mean nothing.",
    remedy="`tidegate experiment status NAME` has the counts. Does a variant crash or redirect before it is exposed? Mend it and "
    "begin anew: change the experiment, then the counts begin anew.",
    timing="at once (the test is right at every look), when the experiment begins anew or an hour after its last exposure",
)
DOUBLES = AlarmKind(
    name="experiment_doubles",
    severity=Severity.WARNING,
    writer=WRITER,
    meaning="More than 1 % of an experiment's users saw two variants. They are left out of both, which may leave out some kinds "
    "of users more than others.",
    remedy="Is the targeting key the same in every service, before and after login? Was the targeting edited? Mend it and "
    "begin anew.",
    timing="at once (the test is right at every look), when the experiment begins anew or an hour after its last exposure",
)
FULL = AlarmKind(
    name="experiment_full",
    severity=Severity.WARNING,
    writer=WRITER,
    meaning="Experiments hold as many users as there is room for (5 million in all): nobody new is counted. Those who are in are "
    "counted on.",
    remedy="End experiments that have their answer: set the flag without it. Or expose a smaller share of the users.",
    timing="with the first user who is turned away, when the experiment begins anew or an hour after its last exposure",
)
KINDS = (MISMATCH, DOUBLES, FULL)
