"""Alarms: named conditions with a start, an end and an identity that does not change (I1).

A fold turns what is true in each pane into edges, firing and resolved. Nothing here is sent to anyone, grouped or silenced.
"""
