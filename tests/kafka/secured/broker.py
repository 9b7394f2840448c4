"""A real broker with TLS, SCRAM and access lists, and the passwords of who may knock at it."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from tests.kafka.secured.authority import LOOPBACK, Authority

from tidegate.broker import Connection, KafkaProcess
from tidegate.broker.jars import KafkaJars
from tidegate.broker.local import free_ports
from tidegate.runtime.access import Access, Sasl, Tls

REFUSALS_TOLD = "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=info"
SUPER = "super"
"""The one user to whom access lists do not apply: who runs the cluster."""


ITSELF = "broker"
"""What the broker is to other brokers and to the controller."""


class SecuredKafka(KafkaProcess):
    """As docs/security.md has it, with two more doors beside that for passwords over TLS: one for certificates, and one for plain
    text, at which nobody may do anything.
    """

    def __init__(self, jars: KafkaJars, folder: Path, users: Iterable[str]) -> None:
        super().__init__(jars, folder / "kafka")
        self.authority = Authority(folder / "authority")
        self._own = self.authority.certify(ITSELF)
        self._secured, self._mutual = free_ports(2)
        self._passwords = {user: secrets.token_hex(12) for user in (SUPER, ITSELF, *users)}
        self.folder = folder / "passwords"
        self.folder.mkdir(mode=0o700)
        for user, password in self._passwords.items():
            path = self.folder / user
            path.touch(mode=0o600)
            path.write_text(password)

    @property
    def secured(self) -> str:
        """Where clients come in with a password."""
        return f"{LOOPBACK}:{self._secured}"

    @property
    def mutual(self) -> str:
        """Where clients come in with a certificate."""
        return f"{LOOPBACK}:{self._mutual}"

    def connection(self, user: str, prefix: str) -> Connection:
        """Return how a user connects."""
        sasl = Sasl(user=user, password=f"file:{self.folder / user}")
        return Connection(self.secured, prefix, Access(Tls(ca=str(self.authority.ca)), sasl))

    async def start(self) -> None:
        """Start, with a log of whom the authorizer refused."""
        os.environ["JAVA_TOOL_OPTIONS"] = REFUSALS_TOLD
        try:
            await super().start()
        finally:
            del os.environ["JAVA_TOOL_OPTIONS"]

    def _formatting(self) -> tuple[str, ...]:
        return tuple(
            word
            for user, password in self._passwords.items()
            for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")
        )

    def _overrides(self) -> list[str]:
        plain, controller = f"PLAINTEXT://{LOOPBACK}:{self._port}", f"CONTROLLER://{LOOPBACK}:{self._controller}"
        doors = f"{plain},SECURED://{self.secured},MUTUAL://{self.mutual}"
        told = {
            "listeners": f"{doors},{controller}",
            "advertised.listeners": doors,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL,MUTUAL:SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "SECURED",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.secured.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required "
                f'username="{ITSELF}" password="{self._passwords[ITSELF]}";'
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._own),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.ca),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.controller.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{SUPER};User:{ITSELF};User:CN={ITSELF}",
        }
        return [word for name, value in told.items() for word in ("--override", f"{name}={value}")]
