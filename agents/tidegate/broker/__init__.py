"""The broker: find or start one, make its topics, append to it and read it in order.

Whoever needs the log takes ``tidegate.ports.Log``; only ``tidegate.cli``, ``tidegate.demo`` and tests know that it is
Kafka. No decision of a rollout may
enter this room.
"""

from tidegate.broker.connection import BrokerProblem, Connection
from tidegate.broker.find import RunningBroker, find_broker
from tidegate.broker.jars import KafkaJars
from tidegate.broker.kafka import KafkaProcess
from tidegate.broker.knock import knock
from tidegate.broker.log import KafkaLog
from tidegate.broker.topics import check_topics, create_topics, delete_topics, list_topics, settle_topics

__all__ = [
    "BrokerProblem",
    "Connection",
    "KafkaJars",
    "KafkaLog",
    "KafkaProcess",
    "RunningBroker",
    "check_topics",
    "create_topics",
    "delete_topics",
    "find_broker",
    "knock",
    "list_topics",
    "settle_topics",
]
