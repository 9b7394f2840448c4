"""Ports for servers of this machine."""

import socket
from pathlib import Path

import pytest

from tidegate.broker import BrokerProblem, local
from tidegate.broker.local import free_ports, keep_ports, own_ports


def test_ports_are_free_and_nobody_is_given_them_for_an_outgoing_connection():
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = free_ports(50)
    assert len(set(found)) == 50
    assert max(found) < lowest
    for port in found:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))


def test_where_all_are_taken_it_says_so(monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        monkeypatch.setattr(local, "PORTS", range(port, port + 1))
        with pytest.raises(BrokerProblem, match="fewer than 1"):
            free_ports(1)


def test_a_broker_has_the_ports_of_before_where_nobody_else_has_them(tmp_path: Path) -> None:
    """Services that outlived it know no others."""
    first = own_ports(tmp_path, 2)
    assert own_ports(tmp_path, 2) != first, "only who holds the folder says which they are"
    keep_ports(tmp_path, *first)
    assert own_ports(tmp_path, 2) == first
    with socket.create_server(("127.0.0.1", first[0])):
        assert own_ports(tmp_path, 2) != first


@pytest.mark.parametrize("text", ["", "1", "80 81", "x y", "20000"])
def test_ports_that_were_not_written_whole_are_chosen_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "ports").write_text(text)
    assert len(own_ports(tmp_path, 2)) == 2
