"""The smallest server: says what stands in ``FOLDER/version`` on a port. Knows nothing of sockets that are handed over."""

import socket
import sys
from pathlib import Path

if __name__ == "__main__":
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    answer = (folder / "version").read_bytes()
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            with server.accept()[0] as client:
                client.recv(4_096)
                client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
