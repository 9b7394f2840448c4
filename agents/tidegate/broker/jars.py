"""Apache Kafka's own jars, fetched once by Maven into a cache of this machine.

The list of jars stands in ``pom.xml`` beside this file. A fetch happens in a folder beside the cache and is renamed
into place, under a lock, so
that two processes never see half of it.
"""

import asyncio
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from msgspec import Struct

from tidegate.broker.connection import BrokerProblem

VERSION = "4.3.1"
FETCH_WITHIN_S = 300.0


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
        """Class-data archive: halves the time to start. Made by the first clean stop."""
        return self.folder / "kafka.jsa"


def cache_folder() -> Path:
    """Return the folder of what is fetched once: ``TIDEGATE_CACHE`` or ``~/.cache/tidegate``."""
    return Path(os.environ.get("TIDEGATE_CACHE") or Path.home() / ".cache" / "tidegate")


async def kafka_jars(announce: Callable[[str], None]) -> KafkaJars:
    """Return the jars, fetched where they are missing. BrokerProblem without Java or Maven, or where the fetch fails."""
    java = shutil.which("java")
    if java is None:
        raise BrokerProblem(
            "real Kafka needs Java 17 or later, and no java is on the PATH",
            "install it (Debian: apt install openjdk-17-jre-headless), or set TIDEGATE_BOOTSTRAP to your own cluster",
        )
    jars = KafkaJars(cache_folder() / f"kafka-{VERSION}", java)
    if not jars.folder.is_dir():
        await asyncio.to_thread(_fetch, jars.folder, announce)
    return jars


def _fetch(folder: Path, announce: Callable[[str], None]) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerProblem(
            f"Kafka's jars are not in {folder}, and no Maven (mvn) is on the PATH to fetch them",
            "install it (Debian: apt install maven), or set TIDEGATE_BOOTSTRAP=host:port to your own cluster",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return
        announce(f"fetching Apache Kafka {VERSION} into {folder}, once (about 45 MB)")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetch-") as beside:
            pom = Path(beside) / "pom.xml"
            pom.write_bytes(resources.files("tidegate.broker").joinpath("pom.xml").read_bytes())
            command = (maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={beside}/lib")
            fetched = _run(*command)
            if fetched.returncode or not any((Path(beside) / "lib").glob("kafka_*.jar")):
                raise BrokerProblem(
                    f"Maven could not fetch Apache Kafka {VERSION}: {fetched.stdout[-400:].strip() or 'it says nothing'}",
                    "check the network and ~/.m2/settings.xml, or set TIDEGATE_BOOTSTRAP=host:port to your own cluster",
                )
            (Path(beside) / "lib").rename(folder)


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
        raise BrokerProblem(f"Maven did not end within {FETCH_WITHIN_S:.0f} s", "check the network and try again") from error
