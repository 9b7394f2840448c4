"""deploy/Dockerfile: its linter, its locks, and its steps run on this machine, for an image can be built only where Docker is."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; [^\\]+)? \\$", re.MULTILINE)
NEVER_IN_THE_IMAGE = {"pip", "setuptools", "hatchling", "pytest", "mypy", "ruff", "hypothesis", "playwright", "testcontainers"}


def pins(path: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / path).read_text()))


def stage(name: str) -> list[tuple[str, str]]:
    """Instructions of a stage, with what each says."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = next(part for part in re.split(r"^(?=FROM )", text, flags=re.MULTILINE) if part.splitlines()[0].endswith(name))
    return [line.partition(" ")[::2] for line in found.splitlines() if line]


def test_hadolint_finds_nothing():
    ran = subprocess.run([Path(sys.prefix, "bin/hadolint"), DOCKERFILE], check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize("lock", ["deploy/requirements.lock", "deploy/build.lock"])
def test_the_image_has_exactly_the_versions_that_were_tested(lock):
    tested, shipped = pins("requirements.lock"), pins(lock)
    assert shipped
    assert {name: tested.get(name) for name in shipped} == shipped
    text = (ROOT / lock).read_text()
    assert text.count("--hash=sha256:") >= len(shipped)
    assert "://" not in text


def test_the_image_has_what_every_role_needs_and_nothing_that_only_we_need():
    shipped = set(pins("deploy/requirements.lock"))
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [one for extra in ("node", "flags", "server", "people") for one in extras[extra]] + PROJECT["project"]["dependencies"]
    needed = {re.split(r"[<>=\[]", one)[0].lower() for one in asked} - {"tidegate"}
    assert needed <= shipped
    assert not shipped & NEVER_IN_THE_IMAGE


def test_what_is_copied_is_there_and_is_let_through():
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [name for word, rest in stage("AS build") if word == "COPY" for name in rest.split()[:-1]]
    assert set(copied) == let_through
    assert not [name for name in copied if not (ROOT / name).exists()]


def test_the_labels_are_true():
    text = DOCKERFILE.read_text()
    label = dict(re.findall(r'org\.opencontainers\.image\.(\S+?)="(.*?)"', text))
    assert label["version"] == PROJECT["project"]["version"]
    assert label["description"] == PROJECT["project"]["description"]
    assert label["licenses"] == PROJECT["project"]["license"]
    assert [label["base.name"]] == [f"docker.io/library/{base}" for base in re.findall(r"^ARG BASE=(.+)$", text, re.MULTILINE)]


@pytest.mark.thorough
def test_the_steps_of_the_build_make_what_runs_and_nothing_else(tmp_path, say):
    """The last stage only copies /opt/tidegate. Needs the index that pip knows."""
    source, opt = tmp_path / "src", tmp_path / "opt"
    source.mkdir()
    for word, rest in stage("AS build"):
        match word:
            case "COPY":
                *names, target = rest.split()
                for name in names:
                    copy(
                        ROOT / name,
                        source / target if Path(target).name == Path(name).name else source / target / Path(name).name,
                    )
            case "RUN":
                command = rest.replace("/opt/", f"{opt}/").replace("python -m venv", f"{shlex.quote(sys.executable)} -m venv")
                ran = subprocess.run(["sh", "-ec", command], cwd=source, check=False, capture_output=True, text=True)
                assert ran.returncode == 0, ran.stdout + ran.stderr
    python = opt / "tidegate" / "bin" / "python"
    listed = subprocess.run(
        [python, "-c", "import importlib.metadata as m; print(*(d.metadata['Name'].lower() for d in m.distributions()))"],
        check=True,
        capture_output=True,
        text=True,
    )
    inside = {name.replace("_", "-").replace(".", "-") for name in listed.stdout.split()}
    assert "tidegate" in inside
    assert inside - {"tidegate"} <= set(pins("deploy/requirements.lock"))
    assert not inside & NEVER_IN_THE_IMAGE
    clean = {"PATH": os.environ["PATH"], "TIDEGATE_HOME": str(tmp_path / "home")}
    for arguments in (["--help"], ["init", "--fleet", "image", "--nodes", "1"], ["worker", "--help"], ["api", "--help"]):
        ran = subprocess.run([opt / "tidegate" / "bin" / "tidegate", *arguments], env=clean, check=False, capture_output=True)
        assert ran.returncode == 0, ran.stderr.decode()
    size_bytes = sum(path.stat().st_size for path in (opt / "tidegate").rglob("*") if path.is_file())
    say(f"{len(inside)} packages, {size_bytes / 1e6:.0f} MB in /opt/tidegate")


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)
