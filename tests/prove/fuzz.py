"""500,000 messages by a grammar (``tests.worker.grammar``) through intake and judge as real processes: neither ends, every
message is accepted or a dead letter with reason and origin, byte for byte what was sent, and the judge accounts for every row.
"""

import asyncio
import contextlib
import secrets
import time
import urllib.request
import zlib
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families
from tests.prove.kit import Program, Refuted, hold, home_of, until
from tests.worker.grammar import Grammar

from tidegate.broker import Connection, KafkaLog, KafkaProcess, create_topics
from tidegate.broker.jars import kafka_jars
from tidegate.broker.local import free_ports
from tidegate.wire.codec import Malformed
from tidegate.wire.telemetry import decode
from tidegate.wire.topics import TELEMETRY_PARTITIONS

MESSAGES = 500_000
SEED = 500_000
WITHIN_S = 600.0
LOG_LINES_MOST = 40
"""However much cannot be read: a storm of it must not become a storm of lines."""
OUTCOMES = {"accepted", "duplicate", "late", "excluded", "overflow"}
"""What may become of a row in the judge; the counter has others, which are among the accepted."""


class Sent:
    """What was sent: by partition and offset, the checksum of a message, and whether it can be read."""

    def __init__(self) -> None:
        self.checksums = [array("L") for _ in range(TELEMETRY_PARTITIONS)]
        self.readable = [bytearray() for _ in range(TELEMETRY_PARTITIONS)]
        self.refused: list[str] = []

    def __len__(self) -> int:
        return sum(map(len, self.checksums))

    @property
    def good(self) -> int:
        return sum(sum(flags) for flags in self.readable)

    def send(self, connection: Connection, messages: int) -> None:
        """Send by one producer that keeps the order, so that the place of a message is its offset."""
        producer = Producer(
            {
                "bootstrap.servers": connection.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "compression.type": "zstd",
                "message.max.bytes": 1 << 20,
            }
        )
        grammar = Grammar(SEED, lambda: time.time_ns() // 1_000_000 - 1_000)
        for number in range(messages):
            value, partition = grammar.message(number), number % TELEMETRY_PARTITIONS
            self.checksums[partition].append(_checksum(value))
            self.readable[partition].append(_readable(value))
            while True:
                try:
                    producer.produce(
                        f"{connection.prefix}telemetry", value, key=b"%d" % number, partition=partition, on_delivery=self._told
                    )
                    break
                except BufferError:
                    producer.poll(0.05)
            producer.poll(0)
        hold(not producer.flush(60), "not all messages were taken by the broker")
        hold(not self.refused, f"the broker refused messages: {self.refused[:3]}")

    def _told(self, error: object, _message: object) -> None:
        if error is not None:
            self.refused.append(str(error))


class Worker:
    """One role as a process, and what it tells."""

    def __init__(self, home: Path, role: str, port: int) -> None:
        self.role = role
        self._log = home / f"{role}.log"
        self._address = f"http://127.0.0.1:{port}"
        self._program = Program(home, role, "worker", role, "--instance", f"{role}-0", "--port", str(port)).start()
        self.pid = self._program.pid
        self.rss_mib: list[int] = []

    def ready(self) -> bool:
        self.hold_alive()
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(f"{self._address}/readyz", timeout=5).status == 200)
        return False

    def told(self, name: str) -> dict[str, float]:
        """Return a counter's values by its last label; its one value under the empty one where it has none."""
        self.hold_alive()
        text = urllib.request.urlopen(f"{self._address}/metrics", timeout=10).read().decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {[*sample.labels.values(), ""][0]: sample.value for sample in samples if sample.name == name}

    def note_memory(self) -> None:
        status = Path(f"/proc/{self.pid}/status").read_text()
        self.rss_mib.append(int(status.partition("VmRSS:")[2].split()[0]) >> 10)

    def hold_alive(self) -> None:
        hold(self._program.alive, f"{self.role} has ended; see {self._log}: {self._log.read_text()[-2_000:]}")

    def lines(self) -> int:
        return len(self._log.read_text().splitlines())

    def end(self) -> int:
        return self._program.end()


def prove(folder: Path) -> dict[str, Any]:
    return asyncio.run(_prove(folder))


async def _prove(folder: Path) -> dict[str, Any]:
    broker = KafkaProcess(await kafka_jars(print), folder / "kafka")
    await broker.start()
    try:
        return await run(folder, broker.bootstrap, MESSAGES)
    finally:
        await broker.stop()


async def run(folder: Path, bootstrap: str, messages: int) -> dict[str, Any]:
    """Send so many messages and follow each; return the figures. Refuted where one is unaccounted for."""
    connection = Connection(bootstrap, f"fuzz{secrets.token_hex(3)}.")
    await create_topics(connection)
    home = home_of(connection, folder)
    intake, judge = (Worker(home, role, port) for role, port in zip(("intake", "judge"), free_ports(2), strict=True))
    try:
        await until(lambda: intake.ready() and judge.ready(), 60, "both workers ready")
        return await _follow(connection, intake, judge, messages)
    finally:
        for worker in (intake, judge):
            with contextlib.suppress(Refuted):
                worker.end()


async def _follow(connection: Connection, intake: Worker, judge: Worker, messages: int) -> dict[str, Any]:
    sent, began_s = Sent(), time.monotonic()
    sending = asyncio.create_task(asyncio.to_thread(sent.send, connection, messages))
    last = -1

    def all_read() -> bool:
        nonlocal last
        read = intake.told("tidegate_intake_messages_read_total").get("", 0)
        if read * 10 // messages > last:
            last = int(read * 10 // messages)
            intake.note_memory()
            judge.note_memory()
        return read >= messages

    await until(all_read, WITHIN_S, "all messages read by intake")
    read_s = time.monotonic() - began_s
    await sending
    accepted = int(intake.told("tidegate_intake_rows_accepted_total")[""])
    await until(lambda: _rows(judge) >= accepted, WITHIN_S, f"{accepted} rows folded by the judge")
    folded_s = time.monotonic() - began_s
    judge.note_memory()
    outcomes = {name: int(value) for name, value in judge.told("tidegate_judge_rows_total").items()}
    hold(_rows(judge) == accepted, f"intake accepted {accepted} rows, the judge has {outcomes}")
    hold(accepted == sent.good, f"{sent.good} of the messages sent can be read, intake accepted {accepted}")
    hold(not judge.told("tidegate_judge_unwritable_total"), "the judge made outputs that are no numbers")
    lines = {worker.role: worker.lines() for worker in (intake, judge)}
    hold(max(lines.values()) <= LOG_LINES_MOST, f"{messages} messages made {lines} lines of log")
    codes = [intake.end(), judge.end()]
    hold(codes == [0, 0], f"asked to end, the workers did with exit codes {codes}")
    letters = await _letters(connection, sent)
    return {
        "messages": messages,
        "accepted": accepted,
        "dead_letters": letters.total(),
        "letters_by_field": dict(letters.most_common()),
        "judge": outcomes,
        "messages_per_s_intake": round(messages / read_s),
        "messages_per_s_both": round(messages / folded_s),
        "rss_mib_at_each_tenth": {worker.role: worker.rss_mib for worker in (intake, judge)},
        "log_lines": lines,
        "processes_that_ended": 0,
    }


async def _letters(connection: Connection, sent: Sent) -> "Counter[str]":
    """Return how many letters name which field, after a look at each."""
    log = KafkaLog(connection, client_id="proof")
    reader = await log.reader(["deadletters"])
    letters = await reader.read_to_end()
    await reader.close()
    await log.close()
    hold(sent.good + len(letters) == len(sent), f"{len(sent)} sent, {sent.good} accepted, {len(letters)} dead letters")
    origins, fields = set(), Counter[str]()
    for letter in letters:
        headers = {name: value.decode() for name, value in letter.headers.items()}
        origin = partition, offset = int(headers["origin-partition"]), int(headers["origin-offset"])
        origins.add(origin)
        hold(headers["origin-topic"] == "telemetry", f"a letter from {headers['origin-topic']}: not by a producer")
        hold(bool(headers["reason"]), f"the letter of {origin} has no reason")
        hold(not sent.readable[partition][offset], f"{origin} can be read, and is a dead letter: {headers['reason']}")
        hold(sent.checksums[partition][offset] == _checksum(letter.value), f"the letter of {origin} is not what was sent")
        fields[headers["path"].partition(".")[0].partition("[")[0][:20] or "message"] += 1
    hold(len(origins) == len(letters), f"{len(letters)} letters of {len(origins)} messages: some twice")
    return fields


def _rows(judge: Worker) -> int:
    return int(sum(value for name, value in judge.told("tidegate_judge_rows_total").items() if name in OUTCOMES))


def _checksum(value: bytes | None) -> int:
    return 1 << 32 if value is None else zlib.crc32(value)


def _readable(value: bytes | None) -> bool:
    try:
        decode(value or b"")
    except Malformed:
        return False
    return True
