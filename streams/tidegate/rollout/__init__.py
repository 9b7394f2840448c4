"""Who runs what, and when that changes: rosters, stages, batches, gates, advance and retreat (rules B, D, E1).

Everything is a fold: ``see`` keeps what the world last said, ``step`` returns the next records of the ledger, ``apply``
folds a record, ``levels`` derives the published documents from the ledger. No judging of telemetry (``tidegate.detect``
does that), no signatures, no offsets, no clock.

Groups are services in waves: ``group_answers`` (a group or an intent about one arrives), ``group_steps`` (forward),
``group_retreat`` (back), ``group_status`` (what people see), ``membership`` (what the rules of services ask about them).

Services and flags are changed by the same conditions; what differs has two modules of one kind:

==================================  ================  ========================
a question                          of a service      of a flag
==================================  ================  ========================
what the rules look at              ``scene``         ``ramp``
something that is wanted arrives    ``acceptance``    ``flag_setting``, ``flag_shared``
a person or a gate says something   ``intents``       ``flag_answers``
what begins it                      ``start``         ``ramp_forward``
forward                             ``advance``       ``ramp_forward``
stop and back                       ``retreat``       ``ramp_retreat``
what is due without being asked     ``step``          ``flag_steps``
what is published                   ``levels``        ``flag_levels``
its alarms                          ``alarms``        ``flag_alarms``
==================================  ================  ========================

Why something waits: ``verdicts`` (what was judged), ``restraint`` (policies and alarms), ``gates``, ``sharing`` (of nodes), and
``flag_code``.
"""
