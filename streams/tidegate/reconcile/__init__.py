"""What a node should do next, from what was commanded and what it sees: pure, total, without clock or hands.

Records of ``desired`` become an accepted document (``accept``), that becomes this node's target (``target``), and target,
memory and observation become at most one action (``actions``). Processes, files, sockets and signatures may not enter;
the shell is ``tidegate.node``.
"""
