"""docker-compose.yml does what its head says, on processes instead of containers."""

import signal
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.deploy.composition import Composition

from tidegate.broker.jars import VERSION, kafka_jars

FLEET = Path(__file__).parents[2] / "deploy" / "compose"
SIGTERM_OF_JAVA = 128 + signal.SIGTERM

pytestmark = [pytest.mark.kafka, pytest.mark.scenario]


@pytest.fixture
async def composition() -> AsyncIterator[Composition]:
    # The name of a socket has at most 107 bytes: no folder deep below others.
    with tempfile.TemporaryDirectory(prefix="compose-") as folder:
        composition = Composition(Path(folder), (await kafka_jars(print)).class_path)
        try:
            yield composition
        finally:
            await composition.stop()


async def test_the_compose_file_installs_a_release_and_takes_a_bad_one_back(composition, say):
    assert composition.services["kafka"]["image"] == f"apache/kafka:{VERSION}"
    began_s = time.monotonic()
    await composition.up()
    up_s = time.monotonic() - began_s
    again = await composition.run("init", *composition.services["init"]["command"])
    first, second = [await composition.run("operator", *line.split()) for line in composition.typed]
    codes = await composition.stop()

    assert again[0] == 0, again[1]
    assert first[0] == 0, first[1]
    assert (second[0], "(exit code 3: rolled back)" in (FLEET / "v2.yaml").read_text()) == (3, True), second[1]
    assert codes == {**dict.fromkeys(codes, 0), "kafka": SIGTERM_OF_JAVA}
    assert [name for name in codes if any(composition.working_folder(name).iterdir())] == []
    say(f"up after {up_s:.0f} s, a bad release back after {time.monotonic() - began_s:.0f} s")
