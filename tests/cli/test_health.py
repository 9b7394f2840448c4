"""What an image's health check and a person are told of a process."""

import asyncio

from tidegate.cli.group import run
from tidegate.runtime import serve
from tidegate.runtime.serve import ANNOUNCE, serving


async def health(*address: str) -> int:
    return await asyncio.to_thread(run, ["health", *address])


async def test_a_ready_process_is_healthy_by_its_address_and_by_what_it_announced(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(ANNOUNCE, str(tmp_path / "address"))
    async with serving("127.0.0.1", 0, lambda: None, note=lambda: "of 12 s ago", also=("OFREP elsewhere",)) as at:
        codes = [await health(), await health(at.url), await health(f"127.0.0.1:{at.port}"), await health(f"{at.url}/")]
    assert codes == [0, 0, 0, 0]
    assert capsys.readouterr().out == "ready: of 12 s ago\n" * 4


async def test_who_is_not_ready_or_hangs_is_not_healthy_and_the_reason_is_shown(monkeypatch, capsys):
    async with serving("127.0.0.1", 0, lambda: "waiting for partitions") as at:
        assert await health(at.url) == 1
        assert f"{at.url}/readyz: waiting for partitions" in capsys.readouterr().err
        monkeypatch.setattr(serve, "STALLED_AFTER_S", -1.0)
        assert await health(at.url) == 1
    assert "/healthz: the event loop has not run" in capsys.readouterr().err
    assert await health(at.url) == 1
    assert "refused" in capsys.readouterr().err


async def test_what_cannot_be_asked_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(ANNOUNCE, raising=False)
    assert await health() == 2
    assert "no ADDRESS was given" in capsys.readouterr().err
    for address in ("file:///etc/passwd", "localhost:abc", "http://[x"):
        assert await health(address) == 2
        assert "is no address" in capsys.readouterr().err
    monkeypatch.setenv(ANNOUNCE, str(tmp_path / "address"))
    assert await health() == 1
    assert "does not serve yet" in capsys.readouterr().err
