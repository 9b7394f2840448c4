"""An installation at a secured broker."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tests.cli.kit import Result, Whole
from tests.kafka.secured.broker import SUPER, SecuredKafka

from tidegate.broker import Connection

MARKS = [
    pytest.mark.kafka,
    # The client closes a connection and does not wait until TLS has said goodbye.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


class Installation:
    """A home, the prefix of its topics, and the passwords of its roles as files in ``keys``."""

    def __init__(self, broker: SecuredKafka, home: Path, prefix: str) -> None:
        self.broker = broker
        self.home = home
        self.prefix = prefix
        self.type("init", "--fleet", "secured", "--bootstrap", broker.secured, "--prefix", prefix)
        shutil.copytree(broker.folder, home / "keys", dirs_exist_ok=True)
        shutil.copy(broker.authority.ca, home / "keys" / "ca.pem")
        self.configure(tls={"ca": "keys/ca.pem"}, sasl={"user": "tidegate-{role}", "password": "file:keys/tidegate-{role}"})

    @property
    def config(self) -> Path:
        """The settings."""
        return self.home / "config.yaml"

    def configure(self, **kafka: object) -> None:
        """Replace keys of the section kafka; None removes one."""
        settings = yaml.safe_load(self.config.read_text())
        settings["kafka"] |= kafka
        settings["kafka"] = {key: value for key, value in settings["kafka"].items() if value is not None}
        self.config.write_text(yaml.safe_dump(settings))

    def connection(self, role: str) -> Connection:
        """Return how a role connects."""
        return self.broker.connection(f"tidegate-{role}", self.prefix)

    def run(self, *arguments: str) -> Result:
        """Type a command."""
        outcome: list[int] = []
        done = CliRunner().invoke(Whole(outcome), ["--home", str(self.home), *arguments])
        if done.exception is not None:
            raise done.exception
        return Result(outcome[0], done.stdout, done.stderr)

    def type(self, *arguments: str) -> str:
        """Type a command that must succeed; return what it prints."""
        done = self.run(*arguments)
        assert done.code == 0, (arguments, done.out, done.err)
        return done.out

    def grant(self, *arguments: str) -> str:
        """Make the rights of every role on the broker, as its super user."""
        return self.type("topics", "acl", "--apply", "--as", SUPER, "--password", f"file:keys/{SUPER}", *arguments)


async def until(holds: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait until something holds; TimeoutError where it does not in time."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)
