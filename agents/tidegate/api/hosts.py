"""Names by which this machine is asked: who is served without a token must have used one of them.

A page of another site can have its own name lead here (DNS rebinding). To its browser the answers are then of its own site, so
that it may read them; but as Host it sends that name, and cannot send another.
"""

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


def is_local(host: str) -> bool:
    """Return whether a request's Host, with or without a port, is a name of this machine.

    >>> is_local("localhost:8016"), is_local("[::1]"), is_local("shop.example:8016"), is_local("")
    (True, True, False, False)
    """
    bare = host if host.endswith("]") else host.rpartition(":")[0] or host
    return bare.lower() in LOCAL_HOSTS


__all__ = ["is_local"]
