"""Why a broker does not let a client in.

The client library says only that it could not connect; here one connection is made that tells the reason.
"""

import asyncio
import ssl
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError
from aiokafka.protocol.metadata import MetadataRequest

from tidegate.broker.connection import BrokerProblem, BrokerRefused, BrokerSilent, Connection
from tidegate.runtime.addresses import Address, addresses
from tidegate.runtime.problem import Problem

ANSWER_WITHIN_S = 3.0


class _Door:
    """One address, tried in several ways; nothing takes longer than ``within_s``."""

    def __init__(self, host: str, port: int, within_s: float) -> None:
        self._host, self._port, self._within_s = host, port, within_s

    async def is_open(self) -> bool:
        """Return whether anything listens there."""
        return await self._connects(None)

    async def speaks_tls(self) -> bool:
        """Return whether TLS begins there, whoever it is: nothing is said, so nobody needs to be trusted."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return await self._connects(context)

    async def speaks_plain(self) -> bool:
        """Return whether a broker answers there in plain text."""
        try:
            await self.ask({})
        except (KafkaError, OSError, TimeoutError):
            return False
        return True

    async def ask(self, arguments: dict[str, Any]) -> None:
        """Come in and ask something: until then a broker that wants to know who is there says nothing. Raises UNANSWERED."""
        async with asyncio.timeout(self._within_s):
            conn = await create_conn(
                self._host,
                self._port,
                client_id="tidegate-knock",
                request_timeout_ms=int(self._within_s * 1000),
                **arguments,
            )
            try:
                await conn.send(MetadataRequest([]))
            finally:
                conn.close()

    async def _connects(self, context: ssl.SSLContext | None) -> bool:
        try:
            async with asyncio.timeout(self._within_s):
                _, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True


async def knock(connection: Connection, within_s: float = ANSWER_WITHIN_S) -> Problem | None:
    """Return why no address of a cluster lets this client in, BrokerRefused before silence; None: one of them does.

    A secret that cannot be read is a Problem, too, and so is what is no address.
    """
    try:
        arguments = connection.arguments()
        doors = addresses(arguments.pop("bootstrap_servers"))
    except Problem as problem:
        return problem
    found = await asyncio.gather(*(_at(address, connection, arguments, within_s) for address in doors))
    if None in found:
        return None
    return next((problem for problem in found if isinstance(problem, BrokerRefused)), found[0])


async def _at(address: Address, connection: Connection, arguments: dict[str, Any], within_s: float) -> BrokerProblem | None:
    door = _Door(address.host, address.port, within_s)
    if not await door.is_open():
        return _silent(address.text)
    try:
        await door.ask(arguments)
    except TimeoutError:
        return _silent(address.text)
    except (KafkaError, OSError) as error:
        return await _why(address.text, connection, error, door)
    return None


async def _why(address: str, connection: Connection, error: Exception, door: _Door) -> BrokerProblem:
    access, broker = connection.access, f"the broker at {address}"
    alert = error.__cause__
    match error:
        case SaslAuthenticationFailed() if access.sasl is not None:
            return BrokerRefused(
                f"{broker} does not know {access.principal} with this password", f"mend kafka.sasl, or {access.sasl.password}"
            )
        case UnsupportedSaslMechanismError() if access.sasl is not None:
            return BrokerRefused(
                f"{broker} takes no {access.sasl.mechanism}", "set kafka.sasl.mechanism to one of its sasl.enabled.mechanisms"
            )
        case ssl.SSLCertVerificationError():
            return _untrusted(broker, connection, error)
        case OSError() if access.tls is not None and await door.speaks_plain():
            return BrokerRefused(f"{broker} does not speak TLS at this port", "name its port for TLS, or remove kafka.tls")
        case KafkaError() if access.tls is None and await door.speaks_tls():
            return BrokerRefused(f"{broker} speaks TLS, and this client plain text", "add kafka.tls, with its authority as ca")
        case KafkaError() if access.tls is not None and isinstance(alert, ssl.SSLError):
            shown = access.tls.certificate or "which has none"
            return BrokerRefused(
                f"{broker} does not accept this client's certificate, {shown}: {alert.reason}",
                "name one of an authority that it trusts: kafka.tls.certificate and kafka.tls.key",
            )
        case KafkaError() if access.tls is not None and access.sasl is None:
            return BrokerRefused(f"{broker} wants to know who is there", "add kafka.sasl, with a user and a password")
    # It lets go of whoever comes, as one does that is about to end.
    return _silent(address)


def _silent(address: str) -> BrokerSilent:
    return BrokerSilent(
        f"no broker answers at {address}", "start it (tidegate up), or set TIDEGATE_BOOTSTRAP=host:port to another"
    )


def _untrusted(broker: str, connection: Connection, error: ssl.SSLCertVerificationError) -> BrokerRefused:
    ca = connection.access.tls.ca if connection.access.tls is not None else None
    match error.verify_code:
        case 62 | 64:  # of OpenSSL: another name, another address
            return BrokerRefused(
                f"{broker} shows a certificate of another name: {error.verify_message}",
                "name the broker as its certificate does, or make it one for this name",
            )
        case 10:  # expired
            return BrokerRefused(f"the certificate of {broker} has expired", "renew it on the broker")
    return BrokerRefused(
        f"the certificate of {broker} is of no authority in {ca or 'the list of this system'}: {error.verify_message}",
        "set kafka.tls.ca to the broker's authority; if it is, somebody else answers there",
    )
