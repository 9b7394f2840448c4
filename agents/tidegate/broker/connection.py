"""Where the broker is, who talks to it, and what can be wrong with that."""

import random
from collections.abc import Iterable
from typing import Any

from aiokafka.errors import KafkaError
from msgspec import Struct

from tidegate.runtime.access import PLAIN_TEXT, Access
from tidegate.runtime.problem import Problem

RETRY_FIRST_S = 0.2
RETRY_MOST_S = 5.0
SPREAD = 0.7
"""Waits that have grown to the most are at least so much of it: those of many who are spread by now then come evenly."""
UNANSWERED = (KafkaError, OSError, TimeoutError)
"""What the client raises where a broker is away, refuses or stays silent."""


class BrokerProblem(Problem):
    """A broker that cannot be found, started or used."""


class BrokerSilent(BrokerProblem):
    """Nobody is there, or nobody that answers."""


class BrokerRefused(BrokerProblem):
    """A broker that is there and says no."""


class DockerMissing(BrokerProblem):
    """There is no Docker to ask: no client, no daemon that answers, or none of this machine."""


class TopicsMissing(Exception):
    """The broker answers and does not show these topics, by their full names: not made yet, or not allowed to be seen."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = sorted(names)
        super().__init__(", ".join(self.names))


class Connection(Struct, frozen=True):
    """A cluster, the prefix of every topic of one installation, and who talks to it."""

    bootstrap: str
    prefix: str = "tidegate."
    access: Access = PLAIN_TEXT

    def arguments(self) -> dict[str, Any]:
        """Return where to and as whom, as every client of aiokafka takes it. Problem where a secret cannot be read."""
        return {"bootstrap_servers": self.bootstrap, **self.access.arguments()}


def denied(connection: Connection, verb: str, *names: str) -> BrokerRefused:
    """Return what to say where the broker does not let this client ``see``, ``read`` or ``write`` topics, by their full names."""
    return BrokerRefused(
        f"the broker does not let {connection.access.principal} {verb} {', '.join(names)}",
        "give it the rights of its role: tidegate topics acl; docs/security.md",
    )


class Backoff:
    """Waits between tries: anything up to ``first_s``, then up to twice as much, and so on to ``most_s``.

    A thousand agents lose one broker at the same moment and must not knock at the same moment (Google Cloud 2025-06-12: restart
    herd). N of them that have waited for long come back at N / ``most_s`` a second, give or take.
    """

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = self._next_s = first_s
        self.most_s = most_s

    def grow(self) -> float:
        """Return the next wait in seconds; the one after it is longer."""
        most_s, grown = self._next_s, self._next_s >= self.most_s
        self._next_s = min(2 * most_s, self.most_s)
        return most_s * random.uniform(SPREAD if grown else 0.0, 1.0)  # noqa: S311 - no secret

    def reset(self) -> None:
        """Begin anew: the last try was answered."""
        self._next_s = self._first_s
