"""An installation at a secured broker, whose commands are typed in processes of their own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.kafka.secured.broker import SecuredKafka

from tidegate.broker import Connection

MARKS = [
    pytest.mark.kafka,
    # The client closes a connection and does not wait until TLS has said goodbye.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]
TYPED_WITHIN_S = 60


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

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Type a command."""
        return subprocess.run(
            [sys.executable, "-m", "tidegate.cli.main", "--home", str(self.home), *arguments],
            capture_output=True,
            text=True,
            timeout=TYPED_WITHIN_S,
            check=False,
        )

    def type(self, *arguments: str) -> str:
        """Type a command that must succeed; return what it prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout
