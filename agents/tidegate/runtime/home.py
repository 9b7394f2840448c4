"""The home folder: where one installation keeps its settings, keys, node files, state and logs."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from tidegate.runtime.keys import find_signer
from tidegate.runtime.problem import Problem
from tidegate.runtime.settings import Settings, load_settings
from tidegate.runtime.trust import read_trust
from tidegate.wire.documents import KeyRole
from tidegate.wire.envelope import Signs, Trust

DEFAULT = Path(".tidegate")


class Home:
    """Paths and what stands in them. Reading raises Problem with the path and the remedy."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder.absolute()
        self._environment = os.environ if environment is None else environment

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.folder / "config.yaml"

    @property
    def keys(self) -> Path:
        """Folder of the keys."""
        return self.folder / "keys"

    @property
    def nodes(self) -> Path:
        """Folder of the node agents' files."""
        return self.folder / "nodes"

    @property
    def state(self) -> Path:
        """Folder of what processes remember."""
        return self.folder / "state"

    @property
    def logs(self) -> Path:
        """Folder of the logs of ``tidegate up``."""
        return self.folder / "logs"

    @property
    def root(self) -> Path:
        """The signed key document."""
        return self.keys / "root.json"

    @property
    def broker(self) -> Path:
        """Where ``tidegate up`` writes the address of the broker that it found."""
        return self.state / "broker"

    @cached_property
    def settings(self) -> Settings:
        """The settings, overlaid by the environment."""
        return load_settings(self.config, self._environment)

    @cached_property
    def trust(self) -> Trust:
        """Whose signatures count; enrolled nodes are read from the topic ``keys``."""
        fleet = self.settings.fleet
        trust = read_trust(self.root)
        if trust.fleet != fleet:
            raise Problem(f"{self.root} is of fleet {trust.fleet}, {self.config} of {fleet}", "use the keys of this fleet")
        return trust

    def signer(self, role: KeyRole, trust: Trust | None = None) -> Signs:
        """Return what signs in a role: of the role's keys the newest one that this home holds. Problem where it holds none.

        ``trust``: whose keys count, where it is not the home's own.
        """
        trust = trust or self.trust
        named = [key for key in trust.keys.values() if key.role is role]
        for key in reversed(named):
            signer = find_signer(self.keys, key.id)
            if signer is not None and signer.public(role).public == key.public:
                return signer
        ids = ", ".join(key.id for key in named) or "none"
        raise Problem(
            f"{self.keys} holds no {role} key of root version {trust.root_version}, whose {role} keys are: {ids}",
            "put one there, use another home with --home, or see: tidegate keys list",
        )

    def bootstrap(self) -> str:
        """Return the broker's address: variable, settings, or what ``tidegate up`` left. Problem where none is known."""
        if self.settings.kafka.bootstrap:
            return self.settings.kafka.bootstrap
        try:
            return self.broker.read_text().strip()
        except OSError as error:
            raise Problem(
                "no broker is known", "run: tidegate up, or set TIDEGATE_BOOTSTRAP=host:port or kafka.bootstrap in config.yaml"
            ) from error
