"""What starts and stops services on a machine: one way a module, all with the promises of ``tidegate.node.executor``.

What should run is not decided here. Others come from installed packages, by entry point.
"""
