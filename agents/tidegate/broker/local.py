"""What every broker that is started on this machine shares: its properties, its folder held alone, free ports."""

import base64
import contextlib
import fcntl
import random
import socket
import uuid
from importlib import resources
from pathlib import Path
from typing import TextIO

from tidegate.broker.connection import BrokerProblem

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 20.0
LOOPBACK = "127.0.0.1"
EVERYWHERE = ""
PORTS = range(20_000, 32_000)
"""Above those of well-known services, below those that Linux gives outgoing connections (32768 and up)."""

_PROPERTIES = resources.files("tidegate.broker").joinpath("server.properties").read_text()


def write_properties(folder: Path, *, listen: str, port: int, controller: int) -> Path:
    """Write the broker's properties into its folder, beside its ``data``; return their path."""
    path = folder / "server.properties"
    path.write_text(_PROPERTIES.format(listen=listen, port=port, controller=controller, data=folder / "data"))
    return path


def hold(folder: Path) -> TextIO:
    """Hold a folder until the file is closed, or this process ends. BrokerProblem where another one holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise BrokerProblem(f"another broker keeps its data in {folder}", "stop that one, or name another folder") from error
    return lock


def new_cluster() -> str:
    """Return an id for a cluster, as the storage tool takes it: 22 characters, none of them an option's dash."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


def free_ports(number: int) -> list[int]:
    """Return ports of loopback that nobody has at this moment, and that no outgoing connection will be given.

    What the system gives for port 0 is from the range of outgoing connections: by the time a server listens there, a client may
    have it.
    """
    found: list[int] = []
    candidates = random.sample(PORTS, len(PORTS))
    while len(found) < number:
        if not candidates:
            raise BrokerProblem(
                f"fewer than {number} ports between {PORTS.start} and {PORTS.stop} are free", "end what listens there"
            )
        port = candidates.pop()
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            found.append(port)
    return found


def own_ports(folder: Path, number: int) -> list[int]:
    """Return the ports that the last broker that held this folder had (``keep_ports``), where nobody listens at them: services
    that outlived it know no others. Else free ones.
    """
    with contextlib.suppress(OSError, ValueError):
        ports = [int(text) for text in (folder / "ports").read_text().split()]
        if len(ports) == number and all(port in PORTS and not listens(port) for port in ports):
            return ports
    return free_ports(number)


def keep_ports(folder: Path, *ports: int) -> None:
    """Remember the ports of the broker that holds a folder. OSError."""
    (folder / "ports").write_text(" ".join(map(str, ports)) + "\n")


def listens(port: int) -> bool:
    """Return whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((LOOPBACK, port)) == 0


def cause_in(log: Path) -> str:
    """Return what to do about a broker that ended: read its log, of which this is the last complaint."""
    text = log.read_text(errors="replace") if log.exists() else ""
    causes = [line for line in text.splitlines() if "ERROR" in line or "Exception" in line]
    return f"see {log}" + (f": {causes[-1].strip()[:300]}" if causes else "")
