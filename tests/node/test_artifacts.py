"""Artifacts: only what has the right digest comes to lie in the cache, and nothing that is needed leaves it."""

import asyncio
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from msgspec.structs import replace

from tidegate.node.artifacts import RESERVE_BYTES, ArtifactCache, sha256_of
from tidegate.node.executor import FetchFailed
from tidegate.wire.documents import digest
from tidegate.wire.plans import Artifact

PLENTY = 1 << 40


@pytest.fixture
def cache(tmp_path):
    return ArtifactCache(tmp_path / "cache", 1 << 30, lambda: PLENTY)


@pytest.fixture
def web(tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def lying(folder, version: str, size_bytes: int = 1_000) -> Artifact:
    data = version.encode() * (size_bytes // len(version))
    path = folder / version
    path.write_bytes(data)
    return Artifact(version=version, sha256=digest(data), size_bytes=len(data), uri=str(path))


async def test_a_path_a_file_address_and_a_web_address_are_fetched(cache, tmp_path, web):
    for index, how in enumerate(("{}", "file://{}", web + "/v2")):
        artifact = lying(tmp_path, f"v{index}")
        artifact = replace(artifact, uri=how.format(tmp_path / f"v{index}"))
        assert not cache.holds(artifact)
        await cache.fetch(artifact, ())
        assert cache.holds(artifact)
        assert cache.measure(artifact) == artifact.sha256


async def test_a_configuration_comes_with_its_artifact(cache, tmp_path):
    one, config = lying(tmp_path, "one"), lying(tmp_path, "config")
    both = replace(one, config_sha256=config.sha256, config_uri=config.uri)
    await cache.fetch(one, ())
    assert not cache.holds(both)
    await cache.fetch(both, ())
    assert sha256_of(cache.config_path(both)) == config.sha256
    cache.config_path(both).chmod(0o644)
    cache.config_path(both).write_bytes(b"altered")
    assert cache.measure(both) == "", "what is not what it was has no digest"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "0" * 64}, "the plan says"),
        ({"size_bytes": 10}, "more than the 10 bytes"),
        ({"uri": "/nowhere/at/all"}, "No such file"),
        ({"uri": "ftp://host/file"}, "ftp is not understood"),
        ({"uri": ""}, "no uri"),
        ({"uri": "http://127.0.0.1:1/refused"}, "refused"),
    ],
)
async def test_what_is_not_the_artifact_does_not_come_in(cache, tmp_path, changes, said):
    artifact = replace(lying(tmp_path, "v1"), **changes)
    with pytest.raises(FetchFailed, match=said):
        await cache.fetch(artifact, ())
    assert not cache.holds(artifact)
    assert list((tmp_path / "cache").iterdir()) == [], "nothing half done is left"


async def test_a_full_disk_refuses_before_anything_is_touched(tmp_path):
    cache = ArtifactCache(tmp_path / "cache", 1 << 30, lambda: RESERVE_BYTES)
    with pytest.raises(FetchFailed, match="free space there"):
        await cache.fetch(lying(tmp_path, "v1"), ())
    assert list((tmp_path / "cache").iterdir()) == []


async def test_the_cache_is_bounded_and_keeps_what_may_be_needed_again(tmp_path):
    cache = ArtifactCache(tmp_path / "cache", 2_500, lambda: PLENTY)
    versions = [lying(tmp_path, f"v{number}") for number in range(5)]
    for artifact in versions:
        await cache.fetch(artifact, [versions[0]])
    assert [cache.holds(one) for one in versions] == [True, False, False, False, True]


async def test_an_altered_file_is_thrown_away_before_a_start(cache, tmp_path):
    artifact = lying(tmp_path, "v1")
    await cache.fetch(artifact, ())
    cache.check(artifact)
    cache.path(artifact).chmod(0o644)
    cache.path(artifact).write_bytes(b"altered")
    with pytest.raises(FetchFailed, match="altered"):
        cache.check(artifact)
    assert not cache.holds(artifact)


async def test_a_cancelled_fetch_leaves_nothing_but_a_part(cache, tmp_path):
    artifact = lying(tmp_path, "v1", 64 << 20)
    fetch = asyncio.ensure_future(cache.fetch(artifact, ()))
    await asyncio.sleep(0)
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    await asyncio.get_running_loop().shutdown_default_executor()
    assert {one.name for one in (tmp_path / "cache").iterdir()} <= {f".{artifact.sha256}.part"}
