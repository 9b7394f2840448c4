"""From rows to KPIs: buckets, columns, dedupe, watermarks, panes and windows.

Pure folds over plain values: no clock but the watermarks', no verdict, no rollout. ``tidegate.judge`` puts them in order.
"""
