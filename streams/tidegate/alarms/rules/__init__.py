"""One file for each kind of alarm that a pane can show; a file has ``RULES``. Found by ``tidegate.alarms.registry``.

A rule looks at one pane and says what is true in it. It remembers nothing, and no edge, group or silence is its business.
"""
