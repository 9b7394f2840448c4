"""What a node agent shows on /metrics: read from the agent at each scrape, so nothing has to be kept in step."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tidegate.node.agent import Figures, NodeAgent


class NodeMetrics(Collector):
    """Gauges of every service and counters of one agent, for a registry of ``prometheus_client``."""

    def __init__(self, agent: NodeAgent) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        """Yield the present values. Called from the serving thread, so it only looks."""
        yield from self._services()
        figures = self._agent.figures()
        actions = CounterMetricFamily("tidegate_node_actions", "Actions by kind and result.", labels=("kind", "result"))
        for (kind, result), number in sorted(figures.actions.items()):
            actions.add_metric((kind, result), number)
        refused = CounterMetricFamily("tidegate_node_refused", "Documents that do not count, by reason.", labels=("reason",))
        for reason, number in sorted(figures.refused.items()):
            refused.add_metric((reason,), number)
        yield actions
        yield refused
        yield CounterMetricFamily("tidegate_node_rows", "Liveness rows made.", value=figures.rows_made)
        yield CounterMetricFamily("tidegate_node_rows_dropped", "Liveness rows that never went out.", value=figures.rows_dropped)
        yield GaugeMetricFamily(
            "tidegate_node_author_silent_seconds", "Since a heartbeat was read, or the start.", value=figures.author_silent_s
        )
        yield from self._scrapes(figures)
        yield from self._probes(figures)
        yield CounterMetricFamily("tidegate_node_reports", "Reports made.", value=figures.reports)

    @staticmethod
    def _scrapes(figures: Figures) -> Iterator[Metric]:
        scrapes = CounterMetricFamily(
            "tidegate_node_scrapes", "Pages asked for, by what came of it.", labels=("service", "result")
        )
        for labels, number in sorted(figures.scrapes.items()):
            scrapes.add_metric(labels, number)
        up = GaugeMetricFamily("tidegate_node_scrape_up", "1: the last page of a service came.", labels=("service",))
        for service, came in figures.scraped.items():
            up.add_metric((service,), came)
        yield from (scrapes, up)
        yield CounterMetricFamily("tidegate_node_scrape_rows", "Rows made of pages.", value=figures.scrape_rows_made)
        yield CounterMetricFamily(
            "tidegate_node_scrape_rows_dropped", "Rows of pages that never went out.", value=figures.scrape_rows_dropped
        )

    @staticmethod
    def _probes(figures: Figures) -> Iterator[Metric]:
        probes = CounterMetricFamily(
            "tidegate_node_probes", "Answers to probes, by what they were.", labels=("service", "result")
        )
        for labels, number in sorted(figures.probes.items()):
            probes.add_metric(labels, number)
        yield probes
        yield CounterMetricFamily("tidegate_node_probe_rows", "Rows made of probes.", value=figures.probe_rows_made)
        yield CounterMetricFamily(
            "tidegate_node_probe_rows_dropped", "Rows of probes that never went out.", value=figures.probe_rows_dropped
        )

    def _services(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "tidegate_node_service_state", "1: the state of a service.", labels=("service", "state", "version")
        )
        exits = GaugeMetricFamily(
            "tidegate_node_service_exits", "Exits nobody ordered since the last ordered start.", labels=("service",)
        )
        generation = GaugeMetricFamily(
            "tidegate_node_accepted_generation", "Generation of the document accepted last.", labels=("service",)
        )
        frozen = GaugeMetricFamily("tidegate_node_frozen", "1: advances of a service are refused.", labels=("service",))
        for service, status in self._agent.status().items():
            held = self._agent.held(service)
            state.add_metric((service, status.state, status.version), 1)
            exits.add_metric((service,), held.exits)
            generation.add_metric((service,), held.accepted.document.generation if held.accepted is not None else 0)
            frozen.add_metric((service,), held.freeze is not None)
        yield from (state, exits, generation, frozen)
