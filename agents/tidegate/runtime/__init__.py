"""What every process of Tidegate needs around its work: settings, keys on disk, logs, metrics and health, a supervisor.

No rule about deployments and no message of the wire is interpreted here.
"""
