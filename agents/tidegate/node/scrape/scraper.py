"""Each scraped service, once a second: ask, read, compare with the last page, queue the row.

Services do not wait for each other, and none has more than one question out. A page that does not come, or cannot be read, is
counted, said once, and never a row.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping

import structlog

from tidegate.node.config import NodeConfig
from tidegate.node.executor import Executor
from tidegate.node.rows import Rows, full_second
from tidegate.node.scrape.config import ScrapeConfig, measures_of, url_of
from tidegate.node.scrape.fetch import Answer, ScrapeFailed, fetch
from tidegate.node.scrape.protobuf import ProtobufReader
from tidegate.node.scrape.text import TextReader
from tidegate.ports import Clock
from tidegate.scrape.fold import Scrape, State, Target, step
from tidegate.scrape.page import Page

FAILED = "failed"

log = structlog.get_logger("node.scrape")


class Scraper:
    """All scraped services of one node. ``life`` names this life of the agent."""

    def __init__(self, config: NodeConfig, executors: Mapping[str, Executor], clock: Clock, rows: Rows, life: str) -> None:
        self._services = [
            _Service(_target(config, name, one.scrape, life), url_of(one.scrape, one.listen), executors[name], rows)
            for name, one in config.services.items()
            if one.scrape is not None
        ]
        self._clock = clock

    def __len__(self) -> int:
        return len(self._services)

    async def run(self) -> None:
        """Scrape until cancelled; returns at once where nothing is to be scraped."""
        async with asyncio.TaskGroup() as group:
            for service in self._services:
                group.create_task(service.run(self._clock))

    def results(self) -> dict[tuple[str, str], int]:
        """Return how often each service's pages came to what: ``failed``, or a ``Result``."""
        return {(one.name, result): number for one in self._services for result, number in one.results.items()}

    def up(self) -> dict[str, bool]:
        """Return whether each service's last page came and could be read; those that were never asked are left out."""
        return {one.name: not one.trouble for one in self._services if one.results}


class _Service:
    def __init__(self, target: Target, url: str, executor: Executor, rows: Rows) -> None:
        self.name = target.service
        self._target = target
        self._url = url
        self._executor = executor
        self._rows = rows
        wanted = target.measures.wanted
        self._text, self._protobuf = TextReader(wanted), ProtobufReader(wanted)
        self._state = State()
        self._bare = False
        self.trouble = ""
        self.results: Counter[str] = Counter()

    async def run(self, clock: Clock) -> None:
        last_ms = 0
        while True:
            end_ms = await full_second(clock)
            if end_ms != last_ms:  # a timer that fires early must not end a second twice
                await self._once(end_ms)
            last_ms = end_ms

    async def _once(self, end_ms: int) -> None:
        running = self._executor.running(self.name)
        if running is None:
            return
        try:
            page = self._read(await fetch(self._url))
            still = self._executor.running(self.name)
            self._take(
                Scrape(
                    page=page,
                    end_ms=end_ms,
                    boot=running.boot,
                    version=running.artifact.version,
                    ready_ms=running.ready_ms,
                    shared=running.shared or still is None or still.shared or still.boot != running.boot,
                )
            )
        except ScrapeFailed as failure:
            self._failed(str(failure))
            return
        except Exception as error:  # noqa: BLE001 - whatever a service shows on its page, the agent goes on
            self._failed(f"the page cannot be used: {error!r}")
            return
        if self.trouble:
            log.info("scraped again", service=self.name)
            self.trouble = ""

    def _read(self, answer: Answer) -> Page:
        kind = answer.content_type.partition(";")[0].strip().lower()
        if kind == "application/vnd.google.protobuf":
            return self._protobuf.read(answer.body)
        if kind in ("text/plain", "application/openmetrics-text"):
            return self._text.read(answer.body, openmetrics=kind != "text/plain")
        raise ScrapeFailed(f"{self._url} shows {kind or 'no type'}, not a page of metrics; set services.{self.name}.scrape.url")

    def _take(self, scrape: Scrape) -> None:
        self._state, row, result = step(self._target, self._state, scrape)
        if row is not None:
            self._rows.put(row)
        self.results[result] += 1
        measures = self._target.measures
        bare = measures.traffic_of(scrape.page) is None and measures.latency_of(scrape.page) is None
        if bare and not self._bare:
            looked_for = ", ".join(sorted({selector.name for one in measures.traffic for selector in one.requests}))
            remedy = f"if requests do not change that, name its metrics in services.{self.name}.scrape"
            log.warning("page shows no requests yet", service=self.name, looked_for=looked_for, remedy=remedy)
        self._bare = bare

    def _failed(self, problem: str) -> None:
        self.results[FAILED] += 1
        if not self.trouble:
            log.warning("not scraped", service=self.name, problem=problem)
        self.trouble = problem


def _target(config: NodeConfig, service: str, scrape: ScrapeConfig, life: str) -> Target:
    measures = measures_of(scrape)
    return Target(node=config.node, service=service, life=life, zone=config.zone, labels=config.labels, measures=measures)
