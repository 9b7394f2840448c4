"""Judgement: is the canary worse than what it replaces (rules C1 to C7)?

Everything here is a pure function of a subject's state, its context and one closed pane. What may not enter: clocks, input and
output, randomness, and decisions. A verdict says what is so; what is done about it is decided elsewhere.
"""
