"""Who is eligible for a rollout, and in which order nodes are reached (B1)."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator

from msgspec import Struct

from tidegate.rollout.ledger import Ledger
from tidegate.rollout.scene import scene_of
from tidegate.rollout.sharing import HOLDING, held_nodes
from tidegate.rollout.view import View, holds
from tidegate.wire.plans import Artifact

Waves = tuple[tuple[str, ...], ...]
"""Zones of each wave, as in ``Plan.waves``."""


class Eligible(Struct, frozen=True):
    """Nodes that a rollout may have, and those it could have if no other rollout held them."""

    free: tuple[str, ...]
    held: tuple[str, ...]


def eligible(ledger: Ledger, view: View, subject: str, settled: Artifact | None, now_ms: int) -> Eligible:
    """Return the eligible nodes (B1): enrolled, reported lately, on the settled version, not cordoned, and not frozen.

    Without a settled version every node that names the service is (B7).
    """
    held = _held_elsewhere(ledger, view, subject, now_ms)
    free: list[str] = []
    taken: list[str] = []
    for node in fit(ledger, view, subject, settled, now_ms, among=view.enrolled):
        (taken if node in held else free).append(node)
    return Eligible(tuple(free), tuple(taken))


def fit(
    ledger: Ledger, view: View, subject: str, settled: Artifact | None, now_ms: int, *, among: frozenset[str]
) -> Iterator[str]:
    """Yield the enrolled nodes ``among`` which are the eligible ones, by name, whoever holds them; as above."""
    service = subject.partition("/")[2]
    for node in sorted(among):
        report = view.service(node, service)
        if report is None or node in ledger.cordoned or not view.reachable(node, now_ms) or view.reports[node].report.frozen:
            continue
        if settled is None or holds(report, settled):
            yield node


def why_none(ledger: Ledger, view: View, subject: str, now_ms: int) -> str:
    """Return why no node is eligible, in words for a person: how many each condition leaves out (B1)."""
    service = subject.partition("/")[2]
    if not view.enrolled:
        return "no node is enrolled: tidegate init --node NAME"
    counts: dict[str, int] = defaultdict(int)
    for node in view.enrolled:
        if not view.reachable(node, now_ms):
            counts["did not report within 90 s (does its agent run?)"] += 1
        elif view.service(node, service) is None:
            counts[f"do not name {service} (add it to their file and start their agent again)"] += 1
        elif node in ledger.cordoned:
            counts["are cordoned"] += 1
        elif view.reports[node].report.frozen:
            counts["are frozen"] += 1
        else:
            counts["do not run the settled version"] += 1
    told = ", ".join(f"{count} {why}" for why, count in sorted(counts.items()))
    return f"none of the {len(view.enrolled)} enrolled nodes can take part: {told}; see: tidegate fleet list"


def in_order(rollout: str, nodes: tuple[str, ...], view: View, waves: Waves = ()) -> tuple[str, ...]:
    """Return nodes in the order in which a rollout reaches them: by hash, the zones taking turns, wave by wave (B1).

    The same for every order of ``nodes``; stages are beginnings of it, so they are nested.
    """
    zones: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        zones[_zone(node, view)].append(node)
    turns = [
        (_wave(zone, waves), turn, _hash(rollout, f"zone {zone}"), node)
        for zone, members in zones.items()
        for turn, node in enumerate(sorted(members, key=lambda node: _hash(rollout, node)))
    ]
    return tuple(node for *_, node in sorted(turns))


def wave_ends(nodes: tuple[str, ...], view: View, waves: Waves) -> tuple[int, ...]:
    """Return how many of these nodes are in the waves up to each."""
    found = [_wave(_zone(node, view), waves) for node in nodes]
    return tuple(sum(wave <= number for wave in found) for number in range(len(waves)))


def _zone(node: str, view: View) -> str:
    seen = view.reports.get(node)
    return seen.report.zone if seen is not None else ""


def _wave(zone: str, waves: Waves) -> int:
    """Return the number of a zone's wave; those of none come last."""
    return next((number for number, wave in enumerate(waves) if zone in wave), len(waves))


def _held_elsewhere(ledger: Ledger, view: View, subject: str, now_ms: int) -> frozenset[str]:
    held: set[str] = set()
    for other, state in ledger.subjects.items():
        scene = scene_of(ledger, view, other, now_ms) if other != subject and state.phase in HOLDING else None
        if scene is not None:
            held.update(held_nodes(scene))
    return frozenset(held)


def _hash(rollout: str, name: str) -> bytes:
    return hashlib.sha256(f"{rollout}\n{name}".encode()).digest()
