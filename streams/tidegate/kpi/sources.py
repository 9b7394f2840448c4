"""One source per (node, service), for longer than a second (A5): SDK before OTLP before scrape.

Two sources cut their seconds at different moments, so a request that one of them has counted in this second, the other may count
in the next. A source that skips a second must therefore not be replaced for just that second: whoever spoke for a node within
the last ten seconds is waited for, and rows of lower sources are not heeded meanwhile.

A version is its own process: what the one said does not keep another one silent. Only where several sources speak in one
partition is anything remembered, so the rule costs nothing elsewhere; it holds from the first second in which they do.

Probes of node agents (I2) are no source of what people ask: they are taken apart before, into a slice of their own.
"""

from collections.abc import Container

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from tidegate.kpi.columns import AGENT_CODE, PROBE_CODE
from tidegate.kpi.rows import Rows

WAIT_MS = 10_000
"""How long a source that has spoken is waited for. Well below the 30 s after which a silent node fails (C6)."""

Speaker = tuple[str, str, str]
"""(service, node, version)."""


class Sources(Struct):
    """Who has spoken lately. Mutable; bounded by the nodes that speak within ten seconds."""

    heard: dict[Speaker, tuple[int, int]] = {}
    """The highest source of each speaker that is still waited for, and the second in which it last spoke."""
    several_ms: int = -WAIT_MS
    """The last second in which more than one source spoke."""

    def heeded(self, rows: Rows, start_ms: int) -> Rows:
        """Return the rows of one second without those of sources below one that is waited for. Agents are always heard."""
        if not self.heard or not (rows.source != AGENT_CODE).any():
            return rows
        at, speakers, inverse = _speakers(rows)
        waited = np.array([self._waited(speaker, start_ms) for speaker in speakers], dtype=np.int64)[inverse]
        kept = np.ones(len(rows.source), dtype=np.bool_)
        kept[at] = rows.source[at] <= waited
        return rows if kept.all() else _only(rows, kept)

    def hear(self, rows: Rows, start_ms: int) -> None:
        """Remember who spoke in a second that is closed. Seconds come in order."""
        if len(np.unique(rows.source[rows.source != AGENT_CODE])) > 1:
            self.several_ms = start_ms
        elif start_ms - self.several_ms > WAIT_MS:
            self.heard.clear()
            return
        at, speakers, inverse = _speakers(rows)
        first = np.full(len(speakers), AGENT_CODE, dtype=np.int64)
        np.minimum.at(first, inverse, rows.source[at])
        for speaker, source in zip(speakers, first.tolist(), strict=True):
            if source <= self._waited(speaker, start_ms):
                self.heard[speaker] = (source, start_ms)
        if start_ms % WAIT_MS == 0:
            self.heard = {speaker: held for speaker, held in self.heard.items() if held[1] >= start_ms - WAIT_MS}

    def _waited(self, speaker: Speaker, start_ms: int) -> int:
        source, last_ms = self.heard.get(speaker, (AGENT_CODE, start_ms))
        return source if last_ms >= start_ms - WAIT_MS else AGENT_CODE


def probed(rows: Rows) -> set[str]:
    """Return the services of which probes tell."""
    places, names = np.unique(rows.place[rows.source == PROBE_CODE]).tolist(), list(rows.places)
    return {names[place][0] for place in places}


def apart(rows: Rows, services: Container[str]) -> tuple[Rows, Rows]:
    """Return rows without probes; and those of probes and agents of some services: what agents say belongs to both."""
    probes = rows.source == PROBE_CODE
    mine = np.array([service in services for service, _ in rows.places], dtype=np.bool_)[rows.place]
    return _only(rows, ~probes), _only(rows, mine & (probes | (rows.source == AGENT_CODE)))


def _speakers(rows: Rows) -> tuple[NDArray[np.intp], list[Speaker], NDArray[np.intp]]:
    """Return which rows are telemetry, who speaks in them, and the speaker of each of them."""
    at = np.flatnonzero(rows.source != AGENT_CODE)
    places, versions = list(rows.places), list(rows.versions)
    codes, inverse = np.unique(rows.place[at] * len(versions) + rows.version[at], return_inverse=True)
    found = [(*places[code // len(versions)], versions[code % len(versions)]) for code in codes.tolist()]
    return at, found, inverse


def _only(rows: Rows, kept: NDArray[np.bool_]) -> Rows:
    columns = ("place", "version", "source", "requests", "errors", "part", "row")
    return replace(rows, **{name: getattr(rows, name)[kept] for name in columns})
