"""Flags: which variant a user sees, why, and what is published so that everyone's evaluator says the same (rules G).

Definitions are flagd's. ``store`` folds the records of the topic, ``evaluate`` is total and takes bounded work, ``explain``
tells the same rule by rule, ``published`` turns what an operator wants into plain flagd rules. No signatures
(``tidegate.wire.flagstamps``), no clock (a timestamp is an argument), no OpenFeature SDK, no deciding of when a share grows.
"""
