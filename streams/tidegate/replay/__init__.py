"""Replay: a recorded log is folded again, and what comes out is held against what was written. No time but the records' own."""
