"""From pages of ``/metrics`` to node-seconds: what two pages of one process differ by, as the row of the time between them.

Pure: it gets what was read and when. Texts, bytes and sockets may not enter; they are in ``tidegate.node.scrape``.
"""
