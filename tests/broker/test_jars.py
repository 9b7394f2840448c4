import asyncio
from pathlib import Path

import pytest

from tidegate.broker import BrokerProblem, KafkaProcess
from tidegate.broker.jars import VERSION, KafkaJars, kafka_jars

FETCH = """
for word in "$@"; do case $word in -DoutputDirectory=*) out=${word#*=};; esac; done
echo fetched >> "$(dirname "$0")/calls"
sleep 0.2
mkdir -p "$out" && : > "$out/kafka_2.13.jar"
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine that has just the programs given to it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))

    def install(name: str, script: str) -> Path:
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)
        return program

    install("java", "exit 0")
    return install


async def test_two_at_once_fetch_once_and_say_so_once(machine, tmp_path):
    maven = machine("mvn", FETCH)
    said: list[str] = []
    jars = await asyncio.gather(*(kafka_jars(said.append) for _ in range(2)))
    jars += [await kafka_jars(said.append)]
    assert (maven.parent / "calls").read_text() == "fetched\n"
    assert {each.folder for each in jars} == {jars[0].folder}
    assert [line for line in said if "fetching" in line] == [
        f"fetching Apache Kafka {VERSION} into {jars[0].folder}, once (about 45 MB)"
    ]
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [jars[0].folder.name, "kafka.lock"]


async def test_a_fetch_that_fails_leaves_nothing_and_says_why_and_what_to_do(machine, tmp_path):
    machine("mvn", "echo '[INFO] so far so good'; echo '[ERROR] no route to the repository'; exit 1")
    with pytest.raises(BrokerProblem, match="no route to the repository") as raised:
        await kafka_jars(print)
    assert "network" in raised.value.remedy
    assert "TIDEGATE_BOOTSTRAP" in raised.value.remedy
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["kafka.lock"]


async def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(machine, tmp_path):
    machine("mvn", FETCH)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(BrokerProblem, match="cannot be kept in ") as raised:
        await kafka_jars(print)
    assert "TIDEGATE_CACHE" in raised.value.remedy


@pytest.mark.parametrize(
    ("says", "remedy"),
    [
        ("java.lang.UnsupportedClassVersionError: kafka/Kafka", "install Java 17"),
        ("java.net.BindException: Address already in use", "try again"),
        ("ERROR disk is full", "disk is full"),
        ("", "kafka.log"),
    ],
)
async def test_a_broker_that_ends_while_it_starts_is_told_with_the_remedy(machine, tmp_path, says, remedy):
    java = machine("java", f"case \"$*\" in *format*) exit 0;; esac\necho '{says}'; exit 3")
    broker = KafkaProcess(KafkaJars(tmp_path, str(java)), tmp_path / "data")
    with pytest.raises(BrokerProblem, match="exit code 3 while it started") as raised:
        await broker.start()
    assert remedy in raised.value.remedy


async def test_another_java_has_an_archive_of_its_own(machine, tmp_path):
    first, second = (KafkaJars(tmp_path, str(machine(name, ""))).archive for name in ("java17", "java21"))
    assert first != second
