"""Web servers that break off, trickle, lie and send elsewhere: what comes is whole, or a sentence that says why not."""

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.node.kit import until
from tests.node.released import artifact_of

from tidegate.node import FetchFailed
from tidegate.node.artifacts import ArtifactCache

PLENTY = 1 << 40
DATA = bytes(range(256)) * 4_096


class Web:
    """A server whose every answer is written by ``answer(start, send)``; ``start`` is where the asked range begins."""

    def __init__(self, answer) -> None:
        self.asked: list[int] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/shop"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                head = client.recv(65_536).decode()
                start = int(head.lower().partition("range: bytes=")[2].partition("-")[0] or 0)
                self.asked.append(start)
                try:
                    self._answer(start, client.sendall)
                except OSError:
                    continue


@pytest.fixture
def web():
    servers = []

    def start(answer) -> Web:
        servers.append(Web(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def cache(tmp_path):
    return ArtifactCache(tmp_path / "cache", 1 << 30, lambda: PLENTY)


@pytest.fixture
def artifact(tmp_path):
    (tmp_path / "shop").write_bytes(DATA)
    return artifact_of(tmp_path / "shop", "v1")


def head(length: int, code: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {code}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n".encode()


async def test_a_transfer_that_breaks_off_goes_on_where_it_was(cache, artifact, web):
    def third(start, send):
        send(head(len(DATA) - start, "206 Partial Content" if start else "200 OK"))
        send(DATA[start : start + len(DATA) // 3])

    server = web(third)
    await cache.fetch(replace(artifact, uri=server.url), ())
    assert cache.holds(artifact)
    assert server.asked == sorted(set(server.asked))
    assert len(server.asked) == 4


async def test_a_server_that_knows_no_ranges_begins_again(cache, artifact, web):
    def whole_at_last(start, send):
        send(head(len(DATA)))
        send(DATA if start else DATA[:10_000])

    await cache.fetch(replace(artifact, uri=web(whole_at_last).url), ())
    assert cache.holds(artifact)


@pytest.mark.parametrize("code", ["301", "302", "303", "307", "308"])
async def test_what_a_redirection_says_beside_its_address_is_not_read(cache, artifact, web, code):
    """The standard library reads it into memory, all of it."""
    sent = []

    def goes_on(_start, send):
        send(head(1 << 40, f"{code} Elsewhere", f"Location: {there.url}\r\n"))
        for _ in range(1_000):
            send(bytes(1 << 20))
            sent.append(1)

    there = web(lambda _start, send: send(head(len(DATA)) + DATA))
    await cache.fetch(replace(artifact, uri=web(goes_on).url), ())
    assert cache.holds(artifact)
    assert len(sent) < 100


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _start, send: send(head(0, "404 Not Found")), "the server answers 404 Not Found"),
        (lambda _start, send: send(head(0, "503 Busy")), "the server answers 503 Busy"),
        (lambda _start, send: send(head(0, "302 Found", "Location: file:///etc/passwd\r\n")), "file:///etc/passwd"),
        (lambda _start, send: send(head(0, "302 Found", "Location: ftp://127.0.0.1/x\r\n")), "only http and https"),
        (lambda _start, send: send(head(10)), "broke off"),
        (lambda _start, _send: None, "broke off"),
        (lambda _start, send: send(b"SSH-2.0-OpenSSH\r\n"), "broke off"),
        (lambda _start, send: send(head(3) + b"bad"), "has sha256"),
        (lambda _start, send: send(head(1 << 50) + DATA), "needs"),
        (lambda _start, send: send(head(len(DATA) + 1) + DATA + b"x"), "more than the"),
    ],
    ids=[
        "404",
        "503",
        "to a file",
        "to ftp",
        "nothing",
        "hangs up",
        "not http",
        "other bytes",
        "announces too much",
        "one too many",
    ],
)
async def test_what_a_server_does_wrong_is_said(cache, artifact, web, answer, said):
    server = web(answer)
    with pytest.raises(FetchFailed, match=said) as failed:
        await cache.fetch(replace(artifact, uri=server.url.replace("//", "//me:secret@") + "?key=secret"), ())
    assert server.url in str(failed.value)
    assert "secret" not in str(failed.value)
    assert list(cache.path(artifact).parent.iterdir()) == []


@pytest.mark.parametrize("where", ["head", "body"])
async def test_who_sends_a_byte_now_and_then_is_given_up(cache, artifact, web, monkeypatch, where):
    monkeypatch.setattr("tidegate.node.download.PATIENCE_S", 0.3)
    over = threading.Event()

    def trickle(_start, send):
        send(head(len(DATA)) if where == "body" else b"HTTP/1.1 200 OK\r\nX: ")
        while not over.wait(0.05):
            send(b"x")

    server = web(trickle)
    try:
        async with asyncio.timeout(5):
            with pytest.raises(FetchFailed, match="too slow"):
                await cache.fetch(replace(artifact, uri=server.url), ())
    finally:
        over.set()


async def test_a_cancelled_fetch_does_not_wait_for_a_silent_server(cache, artifact, web):
    over = threading.Event()
    server = web(lambda _start, _send: over.wait(20))
    fetch = asyncio.ensure_future(cache.fetch(replace(artifact, uri=server.url), ()))
    await until(lambda: server.asked)
    fetch.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(fetch, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_default_executor()
    over.set()
    assert not cache.holds(artifact)


async def test_two_who_ask_for_one_artifact_bring_it_once(cache, artifact, web):
    server = web(lambda _start, send: send(head(len(DATA)) + DATA))
    artifact = replace(artifact, uri=server.url)
    await asyncio.gather(*(cache.fetch(artifact, ()) for _ in range(5)))
    assert server.asked == [0]


async def test_an_artifact_of_unknown_length_keeps_the_cache_within_its_bound(tmp_path, web):
    cache = ArtifactCache(tmp_path / "cache", 3_000, lambda: PLENTY)
    for version in ("one", "two", "three"):
        (tmp_path / version).write_bytes(version.encode() * 500)
        artifact = artifact_of(tmp_path / version, version)
        data = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + version.encode() * 500
        server = web(lambda _start, send, data=data: send(data))
        await cache.fetch(replace(artifact, uri=server.url, size_bytes=0), ())
        assert cache.holds(artifact)
        assert sum(one.stat().st_size for one in (tmp_path / "cache").iterdir()) <= 3_000


async def test_a_fetch_that_was_cut_off_goes_on_where_it_was(cache, artifact, web):
    """Cut off again and again by what another service wanted, it began at the first byte each time, for ever."""
    over, half = threading.Event(), len(DATA) // 2

    def halting(start, send):
        send(head(len(DATA) - start, "206 Partial Content" if start else "200 OK"))
        send(DATA[start:] if start else DATA[:half])
        if not start:
            over.wait(20)

    server, folder = web(halting), cache.path(artifact).parent
    artifact = replace(artifact, uri=server.url)
    fetch = asyncio.ensure_future(cache.fetch(artifact, ()))
    await until(lambda: any(one.stat().st_size for one in folder.iterdir()))
    fetch.cancel()
    await asyncio.gather(fetch, return_exceptions=True)
    over.set()
    await until(lambda: [one.name for one in folder.iterdir()] == [f".{artifact.sha256}.part"])
    assert not cache.holds(artifact)
    came = (folder / f".{artifact.sha256}.part").stat().st_size
    await cache.fetch(artifact, ())
    assert cache.holds(artifact)
    assert server.asked == [0, came]
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("left", [DATA[:1_000], DATA], ids=["some", "all"])
@pytest.mark.parametrize("name", ["7", "part"], ids=["by a killed agent", "by one that was told to end"])
async def test_what_an_earlier_life_of_the_agent_has_brought_is_not_brought_again(tmp_path, artifact, web, left, name):
    def rest(start, send):
        gone = start >= len(DATA)
        send(head(0, "416 Range Not Satisfiable") if gone else head(len(DATA) - start, "206 Partial Content") + DATA[start:])

    server = web(rest)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f".{artifact.sha256}.{name}").write_bytes(left)
    cache = ArtifactCache(tmp_path / "cache", 1 << 30, lambda: PLENTY)
    await cache.fetch(replace(artifact, uri=server.url), ())
    assert cache.holds(artifact)
    assert server.asked == [len(left)]


async def test_a_path_is_copied_on_from_where_it_was(tmp_path, artifact):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f".{artifact.sha256}.part").write_bytes(DATA[:1_000])
    cache = ArtifactCache(tmp_path / "cache", 1 << 30, lambda: PLENTY)
    await cache.fetch(artifact, ())
    assert cache.holds(artifact)


async def test_what_was_brought_wrong_is_thrown_away_and_brought_anew(tmp_path, artifact):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f".{artifact.sha256}.part").write_bytes(b"torn")
    cache = ArtifactCache(tmp_path / "cache", 1 << 30, lambda: PLENTY)
    with pytest.raises(FetchFailed, match="has sha256"):
        await cache.fetch(artifact, ())
    assert list((tmp_path / "cache").iterdir()) == []
    await cache.fetch(artifact, ())
    assert cache.holds(artifact)


async def test_what_was_brought_in_part_goes_when_nobody_needs_it(tmp_path, artifact):
    (tmp_path / "cache").mkdir()
    for digest in ("0" * 64, "1" * 64):
        (tmp_path / "cache" / f".{digest}.part").write_bytes(b"half")
    cache = ArtifactCache(tmp_path / "cache", 1 << 30, lambda: PLENTY)
    await cache.fetch(artifact, [replace(artifact, sha256="1" * 64)])
    assert {one.name for one in (tmp_path / "cache").iterdir()} == {artifact.sha256, f".{'1' * 64}.part"}


FULL = """
import asyncio, sys, pathlib
from tidegate.node.artifacts import ArtifactCache
from tidegate.node import FetchFailed
from tidegate.wire.plans import Artifact
cache = ArtifactCache(pathlib.Path(sys.argv[1]), 1 << 30, lambda: 1 << 40)
try:
    asyncio.run(cache.fetch(Artifact(version="v1", sha256="0" * 64, uri=sys.argv[2]), ()))
except FetchFailed as error:
    print(error, list(pathlib.Path(sys.argv[1]).iterdir()))
"""


def test_a_disk_that_fills_up_in_the_middle_is_said_and_left_clean(tmp_path):
    """On a real file system of 1 MiB, in a mount namespace of its own."""
    (tmp_path / "big").write_bytes(b"x" * (4 << 20))
    (tmp_path / "disk").mkdir()
    shell = 'mount -t tmpfs -o size=1m none "$1/disk" && exec "$2" -c "$3" "$1/disk" "$1/big"'
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", shell, "sh", str(tmp_path), sys.executable, FULL]
    root = Path(__file__).parents[2]
    places = ":".join(str(root / one) for one in ("schemas", "streams", "agents"))
    done = subprocess.run(
        unshare, capture_output=True, text=True, env={"PYTHONPATH": places, "PATH": "/usr/bin:/bin"}, check=False
    )
    if done.returncode and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert "No space left on device" in done.stdout, done.stderr
    assert done.stdout.rstrip().endswith("[]")
