"""Apache Kafka's own jars, fetched once by Maven into a cache of this machine.

The list of jars stands in ``pom.xml`` beside this file. A fetch happens in a folder beside the cache and is renamed
into place, under a lock, so that two processes never see half of it.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from msgspec import Struct

from tidegate.broker.connection import BrokerProblem

POM = resources.files("tidegate.broker").joinpath("pom.xml").read_text()
VERSION = "".join(re.findall(r"<kafka.version>(.+)</kafka.version>", POM))
FETCH_WITHIN_S = 300.0
OWN_CLUSTER = "set TIDEGATE_BOOTSTRAP=host:port to your own cluster"


class KafkaJars(Struct, frozen=True):
    """A complete set of jars, and the java that runs them."""

    folder: Path
    java: str

    @property
    def class_path(self) -> str:
        """For ``java -cp``."""
        return str(self.folder / "*")

    @property
    def archive(self) -> Path:
        """Class-data archive of this very java: halves the time to start. Made by the first clean stop."""
        real = Path(self.java).resolve()
        mark = zlib.crc32(f"{real} {real.stat().st_mtime_ns}".encode())
        return self.folder / f"classes-{mark:08x}.jsa"


def cache_folder() -> Path:
    """Return the folder of what is fetched once: ``TIDEGATE_CACHE`` or ``~/.cache/tidegate``."""
    return Path(os.environ.get("TIDEGATE_CACHE") or Path.home() / ".cache" / "tidegate")


async def kafka_jars(announce: Callable[[str], None]) -> KafkaJars:
    """Return the jars, fetched where they are missing. BrokerProblem without Java or Maven, or where the fetch fails."""
    java = shutil.which("java")
    if java is None:
        raise BrokerProblem(
            "real Kafka needs Java 17 or later, and no java is on the PATH",
            f"install it (Debian, Ubuntu: apt install openjdk-17-jre-headless), or {OWN_CLUSTER}",
        )
    jars = KafkaJars(cache_folder() / f"kafka-{VERSION}-{hashlib.sha256(POM.encode()).hexdigest()[:8]}", java)
    if not jars.folder.is_dir():
        await asyncio.to_thread(_fetch, jars.folder, announce)
    return jars


def _fetch(folder: Path, announce: Callable[[str], None]) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerProblem(
            f"Kafka's jars are not in {folder}, and no Maven (mvn) is on the PATH to fetch them",
            f"install it (Debian, Ubuntu: apt install maven), or {OWN_CLUSTER}",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / "kafka.lock").open("w") as lock:
            _wait_for(lock.fileno(), announce)
            if not folder.is_dir():
                announce(f"fetching Apache Kafka {VERSION} into {folder}, once (about 45 MB)")
                _fetch_alone(maven, folder)
    except OSError as error:
        raise BrokerProblem(
            f"Kafka's jars cannot be kept in {folder.parent}: {error}", "name a folder that can be written: TIDEGATE_CACHE=..."
        ) from error


def _wait_for(lock: int, announce: Callable[[str], None]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        announce("another process fetches Apache Kafka; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _fetch_alone(maven: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetch-") as beside:
        pom, library = Path(beside) / "pom.xml", Path(beside) / "lib"
        pom.write_text(POM)
        # Strict: a jar whose checksum differs is refused, not warned of.
        fetched = _run(maven, "-q", "-B", "-C", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={library}")
        if fetched.returncode or not any(library.glob("kafka_*.jar")):
            said = [line for line in fetched.stdout.splitlines() if "ERROR" in line] or fetched.stdout.splitlines()[-1:]
            raise BrokerProblem(
                f"Maven could not fetch Apache Kafka {VERSION}: {said[0].strip() if said else 'it says nothing'}",
                f"check the network and ~/.m2/settings.xml, or {OWN_CLUSTER}",
            )
        library.rename(folder)


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(  # noqa: S603 - our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=FETCH_WITHIN_S,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerProblem(
            f"Maven did not end within {FETCH_WITHIN_S:.0f} s", f"check the network and try again, or {OWN_CLUSTER}"
        ) from error
