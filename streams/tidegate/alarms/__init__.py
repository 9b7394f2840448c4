"""Alarms: named conditions with a start, an end and an identity that does not change (I1), and what is told of them (I2).

Two folds. ``watch`` turns what is true in each pane into edges, damped where it flaps; its rules stand in ``rules``, one file
each, found without being told. ``notices`` groups, inhibits and silences what stands on the topic. Nothing here sends.
"""
