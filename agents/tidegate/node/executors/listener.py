"""The listening socket of a service: opened by the agent and kept, handed to each version, so that no connection is refused
while one takes over from another.

After the agent's own death the socket lives on in the service, and is taken back from there with pidfd_getfd (Linux 5.6, same
user or CAP_SYS_PTRACE). Where the kernel forbids that (a strict ptrace scope), a second socket shares the port by
SO_REUSEPORT: then connections that wait in the old version's own queue at the moment of a swap may be reset, once.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
from pathlib import Path

from tidegate.node.config import host_and_port
from tidegate.node.executors.children import LISTEN_FD

BACKLOG = 1_024
_PIDFD_GETFD = 438
"""The same number on every architecture."""
_LOWEST_FD = 16
"""Above everything that a spawned program gets by number."""


class ListenFailed(Exception):
    """The address cannot be had. Says who stands in the way and what to do."""


def open_listener(address: str, *, shared: bool = False) -> socket.socket:
    """Return a listening socket; ListenFailed. ``shared``: beside another one of the same user on this port."""
    family, host, port = host_and_port(address)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        # Only now: a port that somebody else holds must not be shared without a word, a later life of this agent may need to.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenFailed(
            f"cannot listen on {address}: {error.strerror or error}; free the port or change `listen` in the node's configuration"
        ) from error
    return _lifted(listener)


def take_back(pid: int, address: str) -> socket.socket | None:
    """Return a duplicate of the socket on which a process listens at an address; None where that is not permitted."""
    try:
        process = os.pidfd_open(pid)
        numbers = sorted((int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()), key=lambda one: (one != LISTEN_FD, one))
    except OSError:
        return None
    try:
        for number in numbers:
            if _is_socket(pid, number) and (found := _duplicate(process, number)) is not None:
                if _listens(found, address):
                    return _lifted(found)
                found.close()
    finally:
        os.close(process)
    return None


def _duplicate(process: int, number: int) -> socket.socket | None:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_PIDFD_GETFD, process, number, 0)
    if fd < 0:
        return None
    try:
        return socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        return None


def _is_socket(pid: int, number: int) -> bool:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/fd/{number}").readlink()).startswith("socket:")
    return False


def _listens(found: socket.socket, address: str) -> bool:
    family, _, port = host_and_port(address)
    try:
        listening = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return bool(listening) and found.family == family and found.getsockname()[1] == port
    except OSError:
        return False


def _lifted(listener: socket.socket) -> socket.socket:
    with listener:
        return socket.socket(fileno=fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD_CLOEXEC, _LOWEST_FD))
