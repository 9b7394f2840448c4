"""Probing (I2): what the plan asks, this node's agent asks its own copy of the service, and makes rows of the slice ``probe``.

What answers mean for a release is decided by the judge; here they are only asked for and counted.
"""
