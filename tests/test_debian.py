"""Programs of others: where they are looked for, and what is said where there are none."""

from pathlib import Path

import pytest
from tests import debian
from tests.debian import NoProgram, program, unpacked


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def script(path: Path, text: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_path_comes_first_then_the_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(debian.platform, "machine", lambda: "pdp11")
    kept = script(cache / "tides-pdp11" / "usr/bin/tide")
    assert program("tides", "tide") == str(kept)
    installed = script(tmp_path / "bin" / "tide")
    assert program("tides", "tide") == str(installed)


def test_without_apt_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoProgram, match=r"no apt-get to fetch it; install it .*apt install tides"):
        program("tides", "tide")


def test_what_cannot_be_fetched_is_said_with_apts_own_words(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script(tmp_path / "bin" / "apt-get", "echo 'E: no network' >&2; exit 100")
    script(tmp_path / "bin" / "dpkg")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    with pytest.raises(NoProgram, match="tides cannot be fetched: E: no network; install it"):
        unpacked("tides")
    assert "fetching tides" in capsys.readouterr().err
    assert [*cache.iterdir()] == [], "nothing half done is left"


def test_what_is_fetched_is_mended_and_kept(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "bin" / "apt-get", 'echo "$@" >> calls; touch tides.deb')
    script(tmp_path / "bin" / "dpkg", 'mkdir -p "$3/usr/bin" && echo raw > "$3/usr/bin/tide"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")

    def mend(files: Path) -> None:
        (files / "usr/bin/tide").write_text("mended")

    for _ in range(2):
        folder = unpacked("tides", "mended", mend)
    assert (folder / "usr/bin/tide").read_text() == "mended"
    assert [path.name for path in cache.iterdir()] == [folder.name]
