"""Archives that are not trusted: nothing lies outside, nothing but files, folders and links inside, no more than a bound."""

import io
import os
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from tidegate.node.executors.tree import tree_digest
from tidegate.node.executors.unpack import DEPTH_MOST, HEADER_BYTES_MOST, Unusable, unpack

BYTES_MOST = 100_000


def tar(folder: Path, *members, name: str = "a.tar.gz") -> Path:
    """Write an archive of (name, kind, content or target)."""
    with tarfile.open(folder / name, "w:gz" if name.endswith("gz") else "w") as archive:
        for path, kind, content in members:
            info = tarfile.TarInfo(path)
            info.type, info.mode, info.uid = kind, 0o6755, 1234
            if kind == tarfile.REGTYPE:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content
                archive.addfile(info)
    return folder / name


FILE, LINK, HARD, FOLDER = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


def done(archive: Path, into: Path) -> Path:
    into.mkdir()
    unpack(archive, archive.name, into, bytes_most=BYTES_MOST, stop=threading.Event())
    return into


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("../out", FILE, b"x")], "leads out"),
        ([("a/../../out", FILE, b"x")], "leads out"),
        ([("/out", FILE, b"x")], "leads out"),
        ([("up", LINK, "..")], "leads out"),
        ([("up", LINK, "/etc")], "leads out"),
        ([("a/up", LINK, "b/../../.."), ("a/b", FOLDER, "")], "leads out"),
        ([("a", LINK, "b/.."), ("b", LINK, "a/.."), ("c", LINK, "sub/deep/../../.."), ("sub/deep", FOLDER, "")], "leads out"),
        ([("step", LINK, "sub"), ("sub", FOLDER, ""), ("out", LINK, "step/../..")], "leads out"),
        ([("dir", LINK, "/var"), ("dir/x", FILE, b"x")], "leads out"),
        ([("dir", LINK, "sub"), ("dir/x", FILE, b"x")], "twice"),
        ([("a", FILE, b"x"), ("a", FILE, b"y")], "twice"),
        ([("a", FILE, b"x"), ("a/b", FILE, b"y")], "a file"),
        ([("a/b", FILE, b"x"), ("a", FILE, b"y")], "twice"),
        ([("h", HARD, "../../etc/passwd")], "leads out"),
        ([("h", HARD, "/etc/passwd")], "leads out"),
        ([("h", HARD, "nowhere")], "not there"),
        ([("null", tarfile.CHRTYPE, "")], "neither file nor folder nor link"),
        ([("pipe", tarfile.FIFOTYPE, "")], "neither file nor folder nor link"),
        ([("/".join(["d"] * (DEPTH_MOST + 1)), FOLDER, "")], "more than 100 folders deep"),
        ([("big", FILE, b"0" * (BYTES_MOST + 1))], "more than 100000 bytes"),
        ([(str(number), FILE, b"0" * 60_000) for number in range(2)], "more than 100000 bytes"),
    ],
)
def test_what_is_hostile_is_refused_and_nothing_lies_outside(tmp_path, members, said):
    (tmp_path / "cage").mkdir()
    with pytest.raises(Unusable, match=said):
        done(tar(tmp_path, *members), tmp_path / "cage" / "release")
    assert [one.name for one in (tmp_path / "cage").iterdir()] == ["release"]


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_longer_than_any_name_is_refused_unread(tmp_path, kind):
    """The library reads it into memory whole, and a few KiB of archive may hold a GiB."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, HEADER_BYTES_MOST + 1
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(Unusable, match="header of more than 1048576 bytes"):
        done(tmp_path / "a.tar.gz", tmp_path / "release")


def test_what_is_honest_comes_whole(tmp_path):
    members = [
        ("./", FOLDER, ""),
        ("./bin/run", FILE, b"#!/bin/sh\n"),
        ("latest", LINK, "bin/run"),
        ("bin/up", LINK, "../bin"),
        ("copy", HARD, "./bin/run"),
        ("empty", FOLDER, ""),
    ]
    into = done(tar(tmp_path, *members), tmp_path / "release")
    assert (into / "latest").read_bytes() == (into / "copy").read_bytes() == b"#!/bin/sh\n"
    assert (into / "empty").is_dir()
    assert oct((into / "bin/run").stat().st_mode)[-4:] == "0755", "no setuid bit, no more rights than asked"
    assert (into / "bin/run").stat().st_uid == os.geteuid()


def test_zip_files_are_unpacked_by_the_same_rules(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        program = zipfile.ZipInfo("bin/run")
        program.external_attr = 0o100755 << 16
        archive.writestr(program, "#!/bin/sh\n")
        link = zipfile.ZipInfo("latest")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "bin/run")
        archive.writestr("empty/", "")
    into = done(tmp_path / "a.zip", tmp_path / "release")
    assert os.access(into / "latest", os.X_OK)
    assert (into / "empty").is_dir()
    for name, mode, text in (
        ("../out", 0o100644, "x"),
        ("up", 0o120777, "../.."),
        ("dev", 0o020644, "x"),
        ("big", 0, "0" * 200_000),
    ):
        with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, text)
        with pytest.raises(Unusable):
            done(tmp_path / "b.zip", tmp_path / f"refused-{mode}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_zip_is_refused(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", kind) as archive:
        archive.writestr("a", os.urandom(2_000))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[35:1_500] = b"\xff" * 1_465
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises((Unusable, OSError)):
        done(tmp_path / "a.zip", tmp_path / "release")


def test_trees_of_any_depth_are_measured(tmp_path):
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1_500):
        os.mkdir("d", dir_fd=at)
        at, above = os.open("d", os.O_RDONLY, dir_fd=at), at
        os.close(above)
    os.close(at)
    memo = {}
    tree_digest(tmp_path, memo)
    assert len(memo) == 1_500
    subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)  # the standard library's own way recurses


def test_zstd_is_unpacked_by_its_program_or_the_remedy_is_said(tmp_path, monkeypatch):
    plain = tar(tmp_path, ("version", FILE, b"1"), name="a.tar")
    subprocess.run(["zstd", "-q", str(plain)], check=True)
    assert (done(tmp_path / "a.tar.zst", tmp_path / "release") / "version").read_text() == "1"
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unusable, match="install it"):
        done(tmp_path / "a.tar.zst", tmp_path / "again")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar", "a.zip", "a.tar.zst", "a.tar.xz"])
def test_a_file_that_is_no_archive_is_told(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(Unusable, match=f"{name} cannot be unpacked"):
        done(tmp_path / name, tmp_path / "release")
