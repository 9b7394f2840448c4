"""A block's seconds as the judge's panes, without any row being folded."""

from functools import cached_property

import numpy as np

from tidegate.kpi.pane import CohortPane, Crowd, NodePane, ServicePane, Table
from tidegate.kpi.strata import stratum_of
from tidegate.kpi.sums import Sums
from tidegate.sim.block import OLD, Block, Integers
from tidegate.sim.episode import SERVICE
from tidegate.wire.telemetry import ServiceState


class Panes:
    """The panes of one block. Columns that do not depend on the second are made once, others at once for all seconds."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._slow: tuple[tuple[int, ...], Integers] | None = None
        cohorts = (("canary", block.version, block.canary), ("control", OLD, block.control))
        self._cohorts = [
            (name, of, nodes.tolist(), tuple(block.names[at] for at in nodes)) for name, of, nodes in cohorts if len(nodes)
        ]

    def pane(self, at: int, edges: tuple[int, ...]) -> ServicePane:
        """Return the pane of a second; a table of the rest with ``edges``."""
        block = self._block
        cohorts = {
            name: CohortPane(name=name, version=version, expected=names, nodes=self._nodes(at, version, nodes))
            for name, version, nodes, names in self._cohorts
        }
        cohorts["rest"] = CohortPane(
            name="rest", version=OLD, expected=self._rest_names, crowd=self._crowd(at, edges), nodes=self._mute(at)
        )
        return ServicePane(
            service=SERVICE, start_ms=block.start_ms + 1_000 * at, cohorts=cohorts, late_rows=int(self._late_rows[at])
        )

    @cached_property
    def _lists(self) -> tuple[list[list[int]], ...]:
        block = self._block
        return block.requests.tolist(), block.errors.tolist(), block.exits.tolist()

    @cached_property
    def _flags(self) -> tuple[list[list[bool]], ...]:
        block = self._block
        return block.heard.tolist(), block.agent_heard.tolist(), block.serving.tolist()

    @cached_property
    def _late_rows(self) -> Integers:
        rows: Integers = self._block.late.sum(axis=1)
        return rows

    @cached_property
    def _changed_ms(self) -> list[int]:
        return [*map(int, self._block.changed_ms)]

    @cached_property
    def _rest_names(self) -> tuple[str, ...]:
        return tuple(self._block.names[at] for at in self._block.rest)

    @cached_property
    def _rest_everybody(self) -> frozenset[str]:
        return frozenset(self._rest_names)

    @cached_property
    def _rest_strata(self) -> tuple[str, ...]:
        return tuple(stratum_of(self._block.zones[at], {}) for at in self._block.rest)

    @cached_property
    def _rest_sums(self) -> tuple[list[int], list[int], list[list[int]]]:
        requests, errors, counts = self._block.sums(self._block.rest)
        return requests.tolist(), errors.tolist(), counts.tolist()

    def _nodes(self, at: int, version: str, nodes: list[int]) -> dict[str, NodePane]:
        block = self._block
        requests, errors, exits = (column[at] for column in self._lists)
        heard, agent, serving = (column[at] for column in self._flags)
        found: dict[str, NodePane] = {}
        for node in nodes:
            told, said = heard[node], agent[node]
            if not told and not said:
                continue
            gauges = {} if block.saturation is None or not told else {"saturation": float(block.saturation[at, node])}
            found[block.names[node]] = NodePane(
                node=block.names[node],
                version=version,
                requests=requests[node] if told else 0,
                errors=errors[node] if told else 0,
                counts=block.counts[at, node] if told else None,
                gauges=gauges,
                zone=block.zones[node],
                telemetry=told,
                agent=said,
                state=(ServiceState.READY if serving[node] else ServiceState.STARTING) if said else None,
                exits=exits[node] if said else 0,
                changed_ms=self._changed_ms[node] if said else 0,
            )
        return found

    def _mute(self, at: int) -> dict[str, NodePane]:
        """Return the nodes of the rest of which only the agent speaks."""
        heard = self._block.heard[at, self._block.rest]
        return {} if heard.all() else self._nodes(at, OLD, self._block.rest[~heard].tolist())

    def _crowd(self, at: int, edges: tuple[int, ...]) -> Crowd:
        block = self._block
        requests, errors, counts = self._rest_sums
        sums = Sums(1, requests[at], errors[at], counts[at])
        if self._slow is None or self._slow[0] != edges:
            self._slow = (edges, block.slow(edges)[:, block.rest])
        slow = self._slow[1][at]
        heard = block.heard[at, block.rest]
        if heard.all():
            rows = (block.requests[at, block.rest], block.errors[at, block.rest], slow)
            return Crowd(self._rest_everybody, sums, OLD, Table(self._rest_names, *rows, self._rest_strata))
        kept = np.flatnonzero(heard)
        names = tuple(self._rest_names[node] for node in kept)
        of = block.rest[kept]
        strata = tuple(self._rest_strata[node] for node in kept)
        return Crowd(frozenset(names), sums, OLD, Table(names, block.requests[at, of], block.errors[at, of], slow[kept], strata))
